"""Histories of a training: a row an evaluated round."""

from collections.abc import Iterator, Mapping

import pandas as pd

from fedmeta.core.evaluation import meta_gradient_norm, metrics_of
from fedmeta.core.types import ServerState
from fedmeta.data.errors import DataError
from fedmeta.pipelines.options import PartitionOptions
from fedmeta.pipelines.preparation.nodes import divide
from fedmeta.pipelines.training.costs import COSTS
from fedmeta.pipelines.training.resuming import under
from fedmeta.pipelines.training.setup import Setup, TrainingPlan


class Curves:
    """Histories of the algorithms that a training serves, by name.

    Beside each, what it is computed from: the scores of every watched client at every
    evaluation.

    Validation clients are watched under every support fraction that is asked for.

    Args:
        plan: of the training.
        setup: of it.
        partition: with the support fraction of this run.
    """

    def __init__(
        self, plan: TrainingPlan, setup: Setup, partition: PartitionOptions
    ) -> None:
        self._names, self._probe = plan.names, plan.training.probe
        self._trained = plan.data.part("train")
        first = slice(plan.training.evaluation_clients)
        # What another support fraction adds to the names of histories -> of whom.
        self._watched = {"": (setup, plan.data.part("validation")[first])}
        if setup.algorithms[self._names[0]].split_invariant:
            for suffix, other in _under_others(plan, partition):
                watched = other.data.part("validation")[first]
                self._watched[suffix] = other.prepare(), watched
        self._rows: dict[str, list[dict[str, float]]] = {
            name + suffix: [] for suffix in self._watched for name in self._names
        }
        self._clients: dict[str, pd.DataFrame] = {}

    def extended(
        self,
        state: ServerState,
        trained: Mapping[str, float],
        spent: Mapping[str, float],
    ) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
        """The histories, with a row for this state, and the watched clients' scores.

        Args:
            state: of the server.
            trained: what was seen of the training clients since the last row.
            spent: costs until now.

        Returns:
            ``history`` and ``validation`` of a `Checkpoint`. The latter has a row a
            client and evaluation: ``round`` and what
            `fedmeta.core.evaluation.evaluate_clients` yields.
        """
        common = {"round": state.round, **trained}
        probed = self._probed(state)
        for suffix, (setup, watched) in self._watched.items():
            seen = {**common, "validation_clients": len(watched)}
            for name in self._names:
                scores = pd.DataFrame(setup.evaluated(name, state.meta, watched))
                row = {**seen, **_means(scores), **probed, **spent}
                self._rows[name + suffix].append(row)
                scores.insert(0, "round", state.round)
                before = self._clients.get(name + suffix)
                both = pd.concat([before, scores], ignore_index=True)
                self._clients[name + suffix] = both
        history = {name: pd.DataFrame(rows) for name, rows in self._rows.items()}
        return history, dict(self._clients)

    def resumed(
        self,
        history: Mapping[str, pd.DataFrame],
        validation: Mapping[str, pd.DataFrame],
    ) -> dict[str, float]:
        """Resume from what `extended` returned; return the costs until then."""
        self._rows = {
            n: table.to_dict(orient="records") for n, table in history.items()
        }
        self._clients = dict(validation)
        # A curve cannot begin in the middle.
        self._watched = {
            suffix: watched
            for suffix, watched in self._watched.items()
            if self._names[0] + suffix in history
        }
        last = self._rows[self._names[0]][-1]
        return {name: last[name] for name in COSTS}

    def last_accuracies(self) -> tuple[float, float]:
        """Of the last algorithm, before and after adaptation, in percent."""
        row = self._rows[self._names[-1]][-1]
        before, after = (row[f"validation_accuracy_{w}"] for w in ("before", "after"))
        return 100 * before, 100 * after

    def _probed(self, state: ServerState) -> dict[str, float]:
        if self._probe is None:
            return {}
        setup, _ = self._watched[""]
        norm = meta_gradient_norm(
            setup.model.loss,
            state.meta,
            self._trained[: self._probe.clients],
            setup.evaluation_task,
            setup.backend,
            inner_lr=self._probe.inner_lr,
            steps=self._probe.steps,
            chunk=setup.chunk,
        )
        return {"meta_gradient_norm": norm}


def _under_others(
    plan: TrainingPlan, partition: PartitionOptions
) -> Iterator[tuple[str, TrainingPlan]]:
    """The training with validation clients' data under other support fractions."""
    data = plan.data
    validation = data.client_split["validation"]
    clients = data.clients[data.clients["client_id"].isin(validation)]
    for fraction in sorted(
        {*plan.training.support_fractions} - {partition.support_fraction}
    ):
        other = partition.model_copy(update={"support_fraction": fraction})
        try:
            divided = divide(plan.benchmark, data.records, clients, other)
        except DataError:  # a gap that leaves nobody: its own run says so
            continue
        own = data._replace(support_query=divided)
        yield under(fraction), plan._replace(data=own)


def _means(table: pd.DataFrame) -> dict[str, float]:
    """Means of every metric over validation clients' query records, and over clients.

    The latter are called "macro". Both are before and after adaptation.
    """
    records = table["num_query"]
    sums = table.sum(numeric_only=True, skipna=False)  # what is not finite stays so
    names = metrics_of(table)
    found: dict[str, float] = {}
    for when in ("before", "after"):
        for n in names:
            found[f"validation_{n}_{when}"] = sums[f"{n}_sum_{when}"] / records.sum()
        for n in names:
            shares = table[f"{n}_sum_{when}"] / records
            found[f"validation_macro_{n}_{when}"] = shares.mean(skipna=False)
    return found
