"""Which runs may be averaged: those that differ in nothing but the seed.

A *setting* is every parameter that can change a result, but for the seed and the
support fraction, the checksum of the data and the code that computes. An experiment may
hold runs of several; one is taken, and the others are named.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from fedmeta.identity import NON_RESULT_OPTIONS

VARIED = {"training.seed", "partition.support_fraction"}
# The same results to the last digits, on whatever machine.
NO_RESULT = {f"training.{name}" for name in NON_RESULT_OPTIONS}
OWN = "algorithm."  # prefix of an algorithm's own parameters
DATA = "data checksum"  # in place of the folder that they were read from
CELL = ["algorithm", "support_fraction", "seed"]

Setting = Mapping[str, str]


class Other(NamedTuple):
    """Runs that were left out.

    Attributes:
        algorithms: Whose they are.
        differs: What is different in them: name -> (theirs, that of the runs taken).
        runs: How many.
    """

    algorithms: tuple[str, ...]
    differs: dict[str, tuple[str, str]]
    runs: int


class Chosen(NamedTuple):
    """The runs that count.

    Attributes:
        runs: A row a cell: algorithm, support fraction and seed. Those of which the
            training diverged are among them, and have no metrics.
        settings: By algorithm.
        others: Finished runs of other settings.
        repeated: How many finished runs a newer one of the same cell has replaced.
        unfinished: How many runs did not end well, or still go on.
    """

    runs: pd.DataFrame
    settings: dict[str, Setting]
    others: list[Other]
    repeated: int
    unfinished: int


def choose(runs: pd.DataFrame) -> Chosen:
    """The setting with most cells, the newest among equals, and its runs.

    First what all algorithms share, so that the rows of a table can be compared; then
    each algorithm's own parameters.

    Args:
        runs: Of one experiment; see `fedmeta.reproduction.runs.Recorded.runs`.
    """
    ended = (runs["status"] == "FINISHED") | (runs["diverged"] != "")
    done = runs[ended].reset_index(drop=True)
    unfinished = len(runs) - len(done)
    if done.empty:
        return Chosen(done, {}, [], 0, unfinished)
    full = [
        setting_of(*run)
        for run in zip(
            done["parameters"], done["data_checksum"], done["code"], strict=True
        )
    ]
    shared = [_shared(setting) for setting in full]
    cells = list(done[CELL].astype(str).itertuples(index=False, name=None))
    ended = done["ended"].tolist()
    common = main_setting(shared, cells, ended)
    comparable = [agree(common, setting) for setting in shared]

    settings, kept = {}, []
    for algorithm in dict.fromkeys(done["algorithm"]):
        own = [
            place
            for place in done.index[done["algorithm"] == algorithm]
            if comparable[place]
        ]
        if not own:
            continue
        main = main_setting(
            [full[i] for i in own], [cells[i] for i in own], [ended[i] for i in own]
        )
        settings[algorithm] = main
        kept += [place for place in own if agree(main, full[place])]
    taken = done.loc[kept].sort_values("ended", kind="stable")
    newest = taken.drop_duplicates(CELL, keep="last")
    others = [
        (done["algorithm"][place], full[place]) for place in done.index.difference(kept)
    ]
    return Chosen(
        newest.sort_values(CELL, kind="stable").reset_index(drop=True),
        settings,
        _others(others, settings, common),
        len(taken) - len(newest),
        unfinished,
    )


def setting_of(
    parameters: Mapping[str, str], data_checksum: str, code: Mapping[str, str]
) -> Setting:
    """What of a run's parameters is its setting, with hashes of data and modules."""
    kept = {
        name: value
        for name, value in parameters.items()
        if name not in VARIED | NO_RESULT and not name.startswith("raw.")
    }
    return {**kept, **code, DATA: data_checksum}


def main_setting(
    settings: Sequence[Setting], cells: Sequence[Hashable], ended: Sequence[int]
) -> Setting:
    """The setting that most cells agree with, among equals the newest.

    Args:
        settings: A run's; one that lacks a parameter, since it has no use for it or is
            older than the parameter, agrees with any value.
        cells: A run's; several runs of one count once.
        ended: When each run ended.
    """
    distinct = list({tuple(sorted(s.items())): s for s in settings}.values())
    fullest = [
        one
        for one in distinct
        if not any(one.items() < other.items() for other in distinct)
    ]

    def weight(candidate: Setting) -> tuple[int, int]:
        members = [i for i, other in enumerate(settings) if agree(candidate, other)]
        return len({cells[i] for i in members}), max(ended[i] for i in members)

    return max(fullest, key=weight)


def agree(one: Setting, other: Setting) -> bool:
    """Whether the two have no parameter with different values."""
    return all(other.get(name, value) == value for name, value in one.items())


def _shared(setting: Setting) -> Setting:
    return {k: v for k, v in setting.items() if not k.startswith(OWN)}


def _others(
    left_out: Sequence[tuple[str, Setting]],
    settings: Mapping[str, Setting],
    common: Setting,
) -> list[Other]:
    """The runs left out, those that differ in the same way together."""
    groups: dict[tuple, list[str]] = {}
    for algorithm, setting in left_out:
        main = settings.get(algorithm, common)
        differs = tuple(
            (name, value, main[name])
            for name, value in sorted(setting.items())
            if main.get(name, value) != value
        )
        groups.setdefault(differs, []).append(algorithm)
    return [
        Other(
            tuple(dict.fromkeys(algorithms)),
            {name: (theirs, ours) for name, theirs, ours in differs},
            len(algorithms),
        )
        for differs, algorithms in groups.items()
    ]
