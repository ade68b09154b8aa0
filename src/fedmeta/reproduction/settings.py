"""Which runs may be averaged: those that differ in nothing but the seed.

A *setting* is every parameter that can change a result, but for the seed and the
support fraction, the checksum of the data and the code that computes. An experiment may
hold runs of several; one is taken, and the others are named.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from fedmeta.identity import CODE, NON_RESULT_OPTIONS, apart, conflicts, in_words
from fedmeta.reporting.phrases import counted
from fedmeta.reporting.wording import label_of, percent

VARIED = {"training.seed", "partition.support_fraction"}
# The same results to the last digits, on whatever machine.
NO_RESULT = {f"training.{name}" for name in NON_RESULT_OPTIONS}
OWN = "algorithm."  # prefix of an algorithm's own parameters
DATA = "data checksum"  # in place of the folder that they were read from
CELL = ["algorithm", "support_fraction", "seed"]

Setting = Mapping[str, str]


class Other(NamedTuple):
    """Runs that were left out."""

    algorithms: tuple[str, ...]  # whose they are
    differs: str  # what is different in them, in words
    runs: int  # how many


class Chosen(NamedTuple):
    """The runs that count."""

    # a row a cell: algorithm, support fraction and seed. Those of which the
    # training diverged are among them, and have no metrics.
    runs: pd.DataFrame
    settings: dict[str, Setting]  # by algorithm
    others: list[Other]  # finished runs of other settings
    repeated: int  # how many finished runs a newer one of the same cell has replaced
    unfinished: int  # how many runs did not end well, or still go on

    def notes(self) -> list[str]:
        """Which runs count, which are left out and why."""
        commits = sorted({commit[:12] for commit in self.runs["commit"] if commit})
        dirty = any("dirty" in commit for commit in self.runs["commit"])
        made = f", made by the commits {', '.join(commits)}" if commits else ""
        changed = ", some of them with local changes" if commits and dirty else ""
        notes = [f"{counted(len(self.runs), 'run')} count{made}{changed}."]
        if self.repeated:
            again = counted(self.repeated, "run")
            notes.append(f"{again} of the same cells left out: newer ones count.")
        notes += [
            f"{label_of(run.algorithm)}, {percent(run.support_fraction)} support"
            f"{'' if pd.isna(run.seed) else f', seed {run.seed}'}: {run.diverged}; no"
            " mean is taken over what is left."
            for run in self.runs[self.runs["diverged"] != ""].itertuples()
        ]
        if self.unfinished:
            open_ = counted(self.unfinished, "run")
            notes.append(f"{open_} did not finish, or still go on.")
        for other in self.others:
            who = ", ".join(map(label_of, other.algorithms))
            runs = counted(other.runs, "run")
            notes.append(f"Left out: {runs} of {who} with {other.differs}.")
        if self.others:
            notes.append(
                "kedro reproduce --where NAME=VALUE takes the runs with another value."
            )
        return notes


def choose(runs: pd.DataFrame) -> Chosen:
    """The setting with most cells, the newest among equals, and its runs.

    First what all algorithms share, so that the rows of a table can be compared; then
    each algorithm's own parameters.

    Args:
        runs: of one experiment; see `fedmeta.reproduction.runs.Recorded.runs`.
    """
    ended = (runs["status"] == "FINISHED") | (runs["diverged"] != "")
    done = runs[ended].reset_index(drop=True)
    unfinished = len(runs) - len(done)
    if done.empty:
        return Chosen(done, {}, [], 0, unfinished)
    made = (done[name] for name in ("parameters", "data_checksum", "code"))
    full = list(map(setting_of, *made))
    shared = [{k: v for k, v in s.items() if not k.startswith(OWN)} for s in full]
    cells = list(done[CELL].astype(str).itertuples(index=False, name=None))
    ended = done["ended"].tolist()
    common = main_setting(shared, cells, ended)
    comparable = [not _apart(setting, common) for setting in shared]

    settings, kept = {}, []
    for algorithm, rows in done[comparable].groupby("algorithm", sort=False):
        own = list(rows.index)
        main = main_setting(*([of[i] for i in own] for of in (full, cells, ended)))
        settings[algorithm] = main
        kept += [place for place in own if not _apart(full[place], main)]
    taken = done.loc[kept].sort_values("ended", kind="stable")
    newest = taken.drop_duplicates(CELL, keep="last")
    others = [(done["algorithm"][i], full[i]) for i in done.index.difference(kept)]
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
        settings: a run's; one that lacks a block of parameters, since it has no use for
            it, agrees with any values.
        cells: a run's; several runs of one count once.
    """
    distinct = list({tuple(sorted(s.items())): s for s in settings}.values())
    fullest = [
        s
        for s in distinct
        if not any(s.items() < o.items() and not _apart(s, o) for o in distinct)
    ]

    def weight(candidate: Setting) -> tuple[int, int]:
        members = [i for i, s in enumerate(settings) if not _apart(s, candidate)]
        return len({cells[i] for i in members}), max(ended[i] for i in members)

    return max(fullest, key=weight)


def _apart(found: Setting, wanted: Setting) -> list[str]:
    """Names of the parameters in which two runs differ.

    A run that was recorded without its code may be older than an option that it lacks.
    """
    recorded = all(any(n.startswith(CODE) for n in each) for each in (found, wanted))
    return (apart if recorded else conflicts)(found, wanted)


def _others(
    left_out: Sequence[tuple[str, Setting]],
    settings: Mapping[str, Setting],
    common: Setting,
) -> list[Other]:
    """The runs left out, those that differ in the same way together."""
    groups: dict[tuple, list[str]] = {}
    for algorithm, setting in left_out:
        main = settings.get(algorithm, common)
        names = sorted(_apart(setting, main))
        # the words alone do not tell two other versions of the code apart
        values = tuple((setting.get(name), main.get(name)) for name in names)
        way = in_words(names, setting, main), values
        groups.setdefault(way, []).append(algorithm)
    return [
        Other(tuple(dict.fromkeys(algorithms)), differs, len(algorithms))
        for (differs, _), algorithms in groups.items()
    ]
