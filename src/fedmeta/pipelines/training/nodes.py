"""The training node: rounds, evaluations on validation clients, checkpoints."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from torch import Tensor

from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.core.algorithms import options_of
from fedmeta.core.engine import run_rounds
from fedmeta.core.evaluation import evaluate_clients, meta_gradient_norm
from fedmeta.core.types import ClientId, ServerState
from fedmeta.data.encoding import Codebook
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.tasks import sample_cohort
from fedmeta.datasets import Checkpoint, FindCheckpoint
from fedmeta.pipelines.options import ProbeOptions, TrainingOptions
from fedmeta.pipelines.progress import Clock
from fedmeta.pipelines.training.costs import COSTS, prices
from fedmeta.pipelines.training.setup import Data, Setup, prepare

log = logging.getLogger(__name__)


def train(
    benchmark: Benchmark,
    names: list[str],
    records: FederatedDataset,
    clients: pd.DataFrame,
    client_split: dict,
    support_query: pd.DataFrame,
    codebook: Codebook,
    earlier: FindCheckpoint,
    training: TrainingOptions,
    model: dict,
    start: Checkpoint | None = None,
    **algorithms: dict,
) -> Iterator[tuple[Any, ...]]:
    """Train the first of ``names``; judge each on validation clients as it goes.

    It starts from the initialisation that another training has learned, if ``start``
    is given: training in stages.

    Goes on from an earlier checkpoint of the same data and options, so that an
    interrupted run ends as an unbroken one would.

    Yields:
        (checkpoint, history of each name) after every ``evaluate_every`` rounds and
        after the last: Kedro saves them as they come.
    """
    data = Data(records, clients, client_split, support_query, codebook)
    # How long it goes on, and which device and backend compute, decide nothing that
    # has been computed.
    decisive = training.model_dump(
        exclude={"rounds", "device", "backend", "clients_at_once", "chunk"}
    )
    options = {name: options_of(name, algorithms) for name in names}
    before = None if start is None else (start.fingerprint, start.state.round)
    fingerprint = data.fingerprint(decisive, model, options, before)
    setup = prepare(benchmark, data, training, model, names, algorithms)
    trained = setup.algorithms[names[0]]
    cohort_of = _cohorts(client_split["train"], training)
    watched = client_split["validation"][: training.evaluation_clients]

    checkpoint = earlier(fingerprint, training.rounds)
    if checkpoint is not None:
        log.info("%s: goes on after round %d", names[0], checkpoint.state.round)
        checkpoint = checkpoint._replace(rounds=training.rounds)
        yield (checkpoint, *(checkpoint.history[name] for name in names))
        if checkpoint.state.round == training.rounds:
            return
        state = _moved(checkpoint.state, setup)
        rows = {n: f.to_dict(orient="records") for n, f in checkpoint.history.items()}
    else:
        theta = (
            setup.model.init(training.seed)
            if start is None
            else start.state.meta["theta"]
        )
        state = _moved(trained.init(theta), setup)
        rows = {name: [] for name in names}

    spent = dict.fromkeys(COSTS, 0) if not rows[names[0]] else _last(rows[names[0]])
    sizes = _sizes(clients, support_query, training)
    price = prices(setup, names[0], state, sizes, client_split["train"][0])

    def judged(state: ServerState, train_loss: float) -> Checkpoint:
        common = {"round": state.round, "train_loss": train_loss}
        probed = _probe(setup, state, client_split["train"], training.probe)
        for name in names:
            scores = _validate(setup, name, state, watched)
            rows[name].append({**common, **scores, **probed, **spent})
        history = {name: pd.DataFrame(rows[name]) for name in names}
        return Checkpoint(fingerprint, state, history, training.rounds)

    if not rows[names[0]]:
        checkpoint = judged(state, float("nan"))
        yield (checkpoint, *checkpoint.history.values())

    loss = _Mean()
    clock = Clock(names[0], state.round, training.rounds)
    cohorts = (cohort_of(t) for t in range(state.round + 1, training.rounds + 1))
    for_each = setup.backend(trained.client_update, setup.training_task)
    for number, state, metrics in run_rounds(trained, state, cohorts, for_each):
        loss.add(metrics["loss"])
        for cost in map(price, cohort_of(number)):
            spent = {name: spent[name] + cost[name] for name in COSTS}
        clock.tick(number, loss.value)
        if number % training.evaluate_every == 0 or number == training.rounds:
            checkpoint = judged(state, loss.take())
            last = rows[names[-1]][-1]
            log.info(
                "%s, round %d of %d: validation accuracy %.1f %% before, %.1f %% after"
                " adaptation",
                names[-1],
                number,
                training.rounds,
                100 * last["validation_accuracy_before"],
                100 * last["validation_accuracy_after"],
            )
            yield (checkpoint, *checkpoint.history.values())


def _cohorts(
    clients: list[ClientId], training: TrainingOptions
) -> Callable[[int], list[ClientId]]:
    size, seed = training.clients_per_round, training.seed
    sample_cohort(clients, size, seed, 1)  # too many asked for: say so before work
    return lambda number: sample_cohort(clients, size, seed, number)


def _sizes(
    clients: pd.DataFrame, support_query: pd.DataFrame, training: TrainingOptions
) -> dict[ClientId, tuple[int, int]]:
    """Support and query records of each client in a round."""
    if training.pooled is not None:
        half = training.pooled // 2
        return dict.fromkeys(clients["client_id"], (half, training.pooled - half))
    if training.episode is not None:
        size = training.episode.size
        return {c.client_id: size(c.stop - c.start) for c in clients.itertuples()}
    return {
        row.client_id: (row.num_support, row.num_query)
        for row in support_query.itertuples()
    }


def _moved(state: ServerState, setup: Setup) -> ServerState:
    return ServerState(
        setup.placed(state.meta), setup.placed(state.opt_state), state.round
    )


def _last(rows: list[dict]) -> dict[str, float]:
    return {name: rows[-1][name] for name in COSTS}


def _validate(
    setup: Setup, name: str, state: ServerState, clients: list[ClientId]
) -> dict[str, float]:
    """Means over the query records of validation clients, before and after.

    Of every score of the model, and of accuracy over clients too ("macro").
    """
    table = pd.DataFrame(
        evaluate_clients(
            setup.algorithms[name],
            setup.model,
            state.meta,
            clients,
            setup.evaluation_task,
            setup.backend,
            setup.chunk,
        )
    )
    records = table["num_query"]
    names = [c.removesuffix("_before") for c in table if c.endswith("_before")]
    return {
        f"validation_{measure}_{when}": float(value)
        for when in ("before", "after")
        for measure, value in {
            **{n: table[f"{n}_{when}"].sum() / records.sum() for n in names},
            "macro_accuracy": (table[f"accuracy_{when}"] / records).mean(),
        }.items()
    }


def _probe(
    setup: Setup,
    state: ServerState,
    clients: list[ClientId],
    probe: ProbeOptions | None,
) -> dict[str, float]:
    if probe is None:
        return {}
    norm = meta_gradient_norm(
        setup.model.loss,
        state.meta,
        clients[: probe.clients],
        setup.evaluation_task,
        setup.backend,
        inner_lr=probe.inner_lr,
        steps=probe.steps,
        chunk=setup.chunk,
    )
    return {"meta_gradient_norm": norm}


class _Mean:
    """A running mean of (sum, count) pairs, emptied when it is taken."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0.0

    def add(self, pair: Tensor) -> None:
        self.total += float(pair[0])
        self.count += float(pair[1])

    @property
    def value(self) -> float:
        return self.total / self.count

    def take(self) -> float:
        mean = self.value
        self.total, self.count = 0.0, 0.0
        return mean
