"""Results of several runs as two tidy tables, which every report is made from.

`scores` has a row a cell, client and stage of adaptation, with sums over the client's
query records; `histories` a row a cell and evaluated round. The columns on the left say
whose a row is: `CELL`, and the factors in which the cells of a study differ. Opened in
pandas, a table of accuracies is two lines::

    scores = pd.read_parquet("results.parquet").query("stage == 'after'")
    sums = scores.groupby("algorithm")[["accuracy_sum", "num_query"]].sum()
    sums["accuracy_sum"] / sums["num_query"]

A training that diverged has words where its numbers would stand. Its history and scores
are marked: ``attrs["diverged"]`` has the round. The history ends at the last evaluated
round before, and there are no scores.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# Whose a row is, in every study; then its factors.
CELL = ["cell", "algorithm", "support_fraction", "seed"]
TOLD = ["diverged", "not_finite"]  # what is said of a cell in words
BEFORE, AFTER = "before", "after"  # stages of adaptation
# What else tells rows of a cell apart: epochs or steps of adaptation, where counted.
COUNTS = ("epochs", "steps")
SUMS = re.compile(r".+_sum_(before|after)")
CELLS, SETTINGS = "cells", "settings"  # attributes of a stored table


class Run(NamedTuple):
    """What one training left, and its place in the study."""

    factors: Mapping[str, Any]  # by name, without those of its settings
    # a row a client, and perhaps number of epochs or steps; or None
    scores: pd.DataFrame | None = None
    history: pd.DataFrame | None = None  # a row an evaluated round; or None


class Results(NamedTuple):
    """The tidy tables, or some of their rows."""

    # a row a cell: its factors, and in words, or empty, whether its training
    # diverged, and on how many clients its adaptation did (`TOLD`)
    cells: pd.DataFrame
    scores: pd.DataFrame  # a row a cell, client and stage
    histories: pd.DataFrame  # a row a cell and evaluated round
    source: str  # what the data are, for titles and tables

    def where(self, **factors: Any) -> Results:
        """The cells of these factors; a factor that none has is of no cell."""
        cells, scores, histories = (_where(table, factors) for table in self[:3])
        return Results(cells, scores, histories, self.source)

    def by(self, *names: str) -> dict[Any, Results]:
        """The cells by a factor, or a tuple of several, in the order of the cells."""
        keys = self.cells[list(names)].dropna().drop_duplicates()
        return {
            key if len(names) > 1 else key[0]: self.where(**dict(zip(names, key)))
            for key in keys.itertuples(index=False, name=None)
        }

    def value(self, name: str) -> Any:
        """The value of a factor that all cells share."""
        (value,) = self.values(name)
        return value

    def values(self, name: str) -> list[Any]:
        """The values of a factor, in the order of the cells."""
        return self.cells[name].dropna().drop_duplicates().tolist()

    def counts(self, name: str = "epochs") -> list[int]:
        """The numbers of epochs, or steps, that anything was scored at, rising."""
        found = self.scores[name].dropna() if name in self.scores else []
        return sorted({int(n) for n in found})

    def at(self, stage: str | None = None, **count: Any) -> pd.DataFrame:
        """Scores of one stage, or number of epochs or steps; with a query record."""
        wanted = count if stage is None else {"stage": stage, **count}
        rows = _where(self.scores, wanted)
        return rows[rows["num_query"] > 0]

    @property
    def diverged(self) -> str:
        """ "diverged at round 12", or "1 of 3 seeds diverged"; else empty."""
        words = self.cells.loc[self.cells["diverged"] != "", "diverged"]
        if words.empty or len(self.cells) == 1:
            return "".join(words)
        return f"{len(words)} of {len(self.cells)} seeds diverged"

    @property
    def lost(self) -> str:
        """Which of the cells diverged, by the factors in which they differ."""
        own = [name for name in self.cells if name not in (*CELL, *TOLD)]
        apart = [name for name in own if self.cells[name].nunique() > 1]
        if not apart:
            return self.diverged
        words = []
        for cell in self.by(*apart).values():
            values = {name: cell.value(name) for name in apart}
            name = " ".join(
                v if isinstance(v, str) else f"{k.replace('_', ' ')} {v}"
                for k, v in values.items()
            )
            words += [f"{name} {cell.diverged}"] if cell.diverged else []
        return "; ".join(words)

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return max(1, self.cells["seed"].nunique())


def tidy(runs: Iterable[tuple[str, Run]], source: str) -> Results:
    """The tables of some runs.

    Args:
        runs: with the name of the cell, which several seeds may share. What they were
            made with, the attribute "settings" of their tables, says seed and support
            fraction, unless they are among the factors.
    """
    cells, scores, histories = [], [], []
    for cell, run in runs:
        tables = [t for t in (run.scores, run.history) if t is not None]
        made = {k: v for t in tables for k, v in t.attrs.get(SETTINGS, {}).items()}
        own = {
            "cell": cell,
            "algorithm": cell,
            "support_fraction": made.get("partition.support_fraction"),
            "seed": made.get("training.seed"),
            **run.factors,
        }
        words = next(filter(None, map(divergence, tables)), "")
        cells.append({**own, "diverged": words, "not_finite": nonfinite(run.scores)})
        if run.scores is not None:
            # but for factors that the scores themselves have in several values
            apart = {k: v for k, v in own.items() if k not in run.scores}
            scores.append(_long(run.scores).assign(**apart))
        if run.history is not None:
            histories.append(run.history.assign(**own))
    frame = pd.DataFrame(cells, columns=None if cells else [*CELL, *TOLD])
    factors = [name for name in frame if name not in TOLD]
    return Results(
        frame,
        _joined(scores, [*factors, "client_id", "stage", "num_support", "num_query"]),
        _joined(histories, [*factors, "round"]),
        source,
    )


def stored(results: Results, settings: Mapping[str, Any]) -> list[pd.DataFrame]:
    """The tables of scores and histories, to be saved; the cells are attributes."""
    cells = results.cells.astype(object).where(results.cells.notna(), None)
    attributes = {CELLS: cells.to_dict("records"), SETTINGS: dict(settings)}
    found = []
    for table in (results.scores, results.histories):
        kept = table.copy(deep=False)
        kept.attrs = attributes
        found.append(kept)
    return found


def restored(scores: pd.DataFrame, histories: pd.DataFrame, source: str) -> Results:
    """Results as they were before `stored`."""
    return Results(pd.DataFrame(scores.attrs[CELLS]), scores, histories, source)


def divergence(results: pd.DataFrame | None) -> str:
    """ "diverged at round 12", of marked results; else empty."""
    mark = None if results is None else results.attrs.get("diverged")
    return "" if mark is None else f"diverged at round {mark['round']:,}"


def nonfinite(scores: pd.DataFrame | None) -> str:
    """How many clients' models have no finite loss, in words; else empty.

    Args:
        scores: a row a client, and perhaps stage of adaptation, with ``loss_sum`` or
            ``loss_sum_after``; scores without a loss are of what cannot diverge.
    """
    if scores is None:
        return ""
    losses = scores.filter(["loss_sum", "loss_sum_after"])
    lost = ~np.isfinite(losses.astype(float)).all(axis=1)
    if not lost.any():
        return ""
    bad = scores.loc[lost, "client_id"]
    return (
        f"adaptation diverged in {len(bad):,} of {len(scores):,} cases, first on client"
        f" {bad.iloc[0]}: its loss is not finite, and records without a finite answer"
        " count as errors"
    )


def _long(scores: pd.DataFrame) -> pd.DataFrame:
    """A row a client and stage, `<metric>_sum` the sums over its query records."""
    wide = [name for name in scores if SUMS.fullmatch(name)]
    if not wide:
        adapted = scores["epochs"] > 0 if "epochs" in scores else True
        stage = pd.Series(adapted, scores.index).map({True: AFTER, False: BEFORE})
        return scores.assign(stage=stage.astype(object))
    ids = [name for name in scores if name not in wide]
    stages = []
    for stage in (BEFORE, AFTER):
        end = f"_{stage}"
        sums = {name: name.removesuffix(end) for name in wide if name.endswith(end)}
        one = scores[[*ids, *sums]].rename(columns=sums)
        stages.append(one.assign(stage=stage))
    return pd.concat(stages, ignore_index=True)


def _joined(tables: list[pd.DataFrame], first: list[str]) -> pd.DataFrame:
    """All rows; some columns first."""
    for table in tables:
        table.attrs = {}  # each would be compared with all others
    filled = [table for table in tables if len(table)] or tables
    joined = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    columns = dict.fromkeys([*first, *(n for n in COUNTS if n in joined), *joined])
    return joined.reindex(columns=list(columns))


def _where(table: pd.DataFrame, wanted: Mapping[str, Hashable]) -> pd.DataFrame:
    for name, value in wanted.items():
        if name not in table:
            return table.iloc[:0]
        column = table[name]
        table = table[column.isna() if pd.isna(value) else column == value]
    return table
