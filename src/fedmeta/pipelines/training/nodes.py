"""The training node: rounds, evaluations on validation clients, checkpoints."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from torch import Tensor

from fedmeta.benchmarks.registry import Benchmark
from fedmeta.core.cost import analytic_flops, counted_flops, traffic
from fedmeta.core.engine import run_rounds
from fedmeta.core.evaluation import evaluate_clients
from fedmeta.core.trees import tree_map
from fedmeta.core.types import ClientId, ServerState
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.tasks import sample_cohort
from fedmeta.datasets import Checkpoint, FindCheckpoint
from fedmeta.pipelines.options import TrainingOptions
from fedmeta.pipelines.training.setup import CHUNK, Data, Setup, prepare

log = logging.getLogger(__name__)

COSTS = ("bytes_down", "bytes_up", "flops", "flops_counted", "client_rounds")
SAY_EVERY_S = 20.0


def train(
    benchmark: Benchmark,
    names: list[str],
    records: FederatedDataset,
    clients: pd.DataFrame,
    client_split: dict,
    support_query: pd.DataFrame,
    earlier: FindCheckpoint,
    training: TrainingOptions,
    model: dict,
    **algorithms: dict,
) -> Iterator[tuple[Any, ...]]:
    """Train the first of ``names``; judge each on validation clients as it goes.

    Goes on from an earlier checkpoint of the same data and options, so that an
    interrupted run ends as an unbroken one would.

    Yields:
        (checkpoint, history of each name) after every ``evaluate_every`` rounds and
        after the last: Kedro saves them as they come.
    """
    data = Data(records, clients, client_split, support_query)
    # How long it goes on, and which device and backend compute, decide nothing that
    # has been computed.
    decisive = training.model_dump(
        exclude={"rounds", "device", "backend", "clients_at_once"}
    )
    fingerprint = data.fingerprint(decisive, model, algorithms)
    ordered = {name: algorithms[name] for name in names}
    setup = prepare(benchmark, data, training, model, ordered)
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
        state = _moved(trained.init(setup.model.init(training.seed)), setup)
        rows = {name: [] for name in names}

    spent = dict.fromkeys(COSTS, 0) if not rows[names[0]] else _last(rows[names[0]])
    price = _prices(setup, names[0], state, support_query, client_split["train"][0])

    def judged(state: ServerState, train_loss: float) -> Checkpoint:
        for name in names:
            scores = _validate(setup, name, state, watched)
            rows[name].append(
                {"round": state.round, "train_loss": train_loss, **scores, **spent}
            )
        history = {name: pd.DataFrame(rows[name]) for name in names}
        return Checkpoint(fingerprint, state, history, training.rounds)

    if not rows[names[0]]:
        checkpoint = judged(state, float("nan"))
        yield (checkpoint, *checkpoint.history.values())

    loss = _Mean()
    clock = _Clock(names[0], state.round, training.rounds)
    cohorts = (cohort_of(t) for t in range(state.round + 1, training.rounds + 1))
    for_each = setup.backend(trained.client_update, setup.training_task)
    for number, state, metrics in run_rounds(trained, state, cohorts, for_each):
        loss.add(metrics["loss"])
        for client in cohort_of(number):
            spent = {name: spent[name] + price(client)[name] for name in COSTS}
        clock.tick(number, loss)
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


def _moved(state: ServerState, setup: Setup) -> ServerState:
    to = lambda tree: tree_map(lambda leaf: leaf.to(setup.device), tree)  # noqa: E731
    return ServerState(to(state.meta), to(state.opt_state), state.round)


def _last(rows: list[dict]) -> dict[str, float]:
    return {name: rows[-1][name] for name in COSTS}


def _prices(
    setup: Setup,
    name: str,
    state: ServerState,
    support_query: pd.DataFrame,
    example: ClientId,
) -> Callable[[ClientId], dict[str, float]]:
    """What one client's work in one round costs, by client."""
    algorithm = setup.algorithms[name]
    down, up = traffic(state.meta)
    counted = counted_flops(algorithm, state.meta, setup.training_task(example, 0))
    sizes = {
        row.client_id: (row.num_support, row.num_query)
        for row in support_query.itertuples()
    }

    def price(client: ClientId) -> dict[str, float]:
        work = algorithm.work(*sizes[client])
        flops = analytic_flops(work, setup.model.flops)
        values = (down, up, flops, counted(*sizes[client]), 1)
        return {n: int(v) for n, v in zip(COSTS, values, strict=True)}

    return price


def _validate(
    setup: Setup, name: str, state: ServerState, clients: list[ClientId]
) -> dict[str, float]:
    """Micro and macro accuracy and loss of validation clients, before and after."""
    table = pd.DataFrame(
        evaluate_clients(
            setup.algorithms[name],
            setup.model,
            state.meta,
            clients,
            setup.evaluation_task,
            setup.backend,
            CHUNK,
        )
    )
    records = table["num_query"]
    return {
        f"validation_{measure}_{when}": float(value)
        for when in ("before", "after")
        for measure, value in {
            "loss": table[f"loss_{when}"].sum() / records.sum(),
            "accuracy": table[f"accuracy_{when}"].sum() / records.sum(),
            "macro_accuracy": (table[f"accuracy_{when}"] / records).mean(),
        }.items()
    }


class _Mean:
    """A running mean of (sum, count) pairs, emptied when it is taken."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0.0

    def add(self, pair: Tensor) -> None:
        self.total += float(pair[0])
        self.count += float(pair[1])

    def take(self) -> float:
        mean = self.total / self.count
        self.total, self.count = 0.0, 0.0
        return mean


class _Clock:
    """Says now and then how far the training is and how long it will take."""

    def __init__(self, name: str, first: int, rounds: int) -> None:
        self.name, self.first, self.rounds = name, first, rounds
        self.start = self.said = time.monotonic()

    def tick(self, number: int, loss: _Mean) -> None:
        now = time.monotonic()
        if now - self.said < SAY_EVERY_S:
            return
        self.said = now
        pace = (now - self.start) / (number - self.first)
        log.info(
            "%s, round %d of %d: training loss %.3f, %.2f s a round, %.0f min to go",
            self.name,
            number,
            self.rounds,
            loss.total / loss.count,
            pace,
            pace * (self.rounds - number) / 60,
        )
