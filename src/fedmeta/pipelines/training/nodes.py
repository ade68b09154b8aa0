"""The training node: rounds, evaluations on validation clients, checkpoints."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import nan
from typing import Any

from torch import Tensor

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint, EarlierCheckpoints
from fedmeta.core.algorithms import options_of
from fedmeta.core.engine import run_rounds
from fedmeta.core.trees import tree_leaves
from fedmeta.core.types import ClientId, Diverged, ServerState
from fedmeta.data.ids import Ids
from fedmeta.data.tasks import poisson_cohort, sample_cohort
from fedmeta.pipelines.checks import check_algorithms, checked_by
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.divergence import inherited, marked, remedy
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.progress import Clock, lasts
from fedmeta.pipelines.training.averaging import IterateAverage
from fedmeta.pipelines.training.costs import prices, spent_before, summed
from fedmeta.pipelines.training.curves import Curves
from fedmeta.pipelines.training.keeping import states_of, with_states
from fedmeta.pipelines.training.privacy import Privacy
from fedmeta.pipelines.training.resuming import (
    resumable,
    tell_others,
    tell_resumed,
)
from fedmeta.pipelines.training.setup import Setup, TrainingPlan, made_with

log = logging.getLogger(__name__)


@lasts("training", "rounds")
@checked_by(check_algorithms)
def train(
    benchmark: Benchmark,
    names: list[str],
    data: Data,
    earlier: EarlierCheckpoints,
    partition: PartitionOptions,
    training: TrainingOptions,
    model: dict,
    start: Checkpoint | None = None,
    called: str | None = None,
    **algorithms: dict,
) -> Iterator[tuple[Any, ...]]:
    """Train the first of ``names``; judge each on validation clients as it goes.

    It starts from the initialisation that another training has learned, if ``start``
    is given: training in stages. In the log it is ``called`` so, or by the algorithm.

    Resumes from an earlier checkpoint of the same data and options, so that an
    interrupted run ends as an unbroken one would. A training that goes over all of its
    clients' records does not depend on the support fraction: it is taken from a
    finished run under another one, if that has watched this one too.

    Where it diverges, the last checkpoint is the last finite one that was evaluated;
    it is yielded again, marked, as are the histories, and training again says so at
    once. So does a training that starts from a marked checkpoint.

    Yields:
        (checkpoint, history of each name, validation scores of each name) after every
        ``evaluate_every`` rounds and after the last: Kedro saves them as they come.
        The scores have a row a watched client and evaluation: `Curves.extended`.
    """
    plan = TrainingPlan(
        benchmark, data, training, model, names, algorithms, called, start
    )

    def chunk(checkpoint: Checkpoint) -> tuple[Any, ...]:
        kinds = checkpoint.history, checkpoint.validation
        tables = [tables[name] for tables in kinds for name in names]
        for table in tables:
            table.attrs = made_with(checkpoint.reached)
        for name in names:
            checkpoint.history[name].attrs["timing"] = list(checkpoint.timing)
        return checkpoint, *(marked(table, checkpoint.diverged) for table in tables)

    try:
        for checkpoint in _checkpoints(plan, earlier, partition):
            yield chunk(checkpoint)
    except Diverged as error:
        found = error.divergence
        advice = remedy(options_of(names[0], algorithms), found)
        if start is not None and start.diverged:
            advice = "that one is to be trained otherwise first"
        log.error("%s: %s; %s", plan.label, found, advice)
        yield chunk(checkpoint._replace(diverged=found))


def _checkpoints(
    plan: TrainingPlan, earlier: EarlierCheckpoints, partition: PartitionOptions
) -> Iterator[Checkpoint]:
    """Checkpoints of a training, at least one.

    Raises:
        Diverged: after the last finite checkpoint.
    """
    data, training, start = plan.data, plan.training, plan.start
    settings, setup = plan.settings(), plan.prepare()
    train_clients = data.part("train")
    privacy = Privacy(plan.label, training, len(train_clients), start)
    trained = privacy.protected(setup.algorithms[plan.names[0]])
    cohort_of = _cohorts(train_clients, training)
    make_task = plan.training_task_maker(trained.passes, setup.device)
    shared = (
        identity.fingerprint({**settings, **data.without_partition()})
        if trained.split_invariant
        else ""
    )
    states = states_of(
        trained, plan, setup, earlier.states(identity.fingerprint(settings))
    )
    curves = Curves(plan, setup, partition)
    seen = _Seen(skips=training.nonfinite_updates == "skip")

    def judged(state: ServerState) -> Checkpoint:
        sent = tree_leaves(trained.sent(state.meta))  # nothing sent: nothing told
        with clock.evaluating():
            history, validation = curves.extended(
                state,
                seen.take(),
                {**spent, **privacy.spent(state.round if sent else 0)},
            )
        return average.kept_in(
            Checkpoint(
                settings,
                state,
                history,
                training.rounds,
                shared,
                validation=validation,
                timing=clock.at(state.round),
                states=None if states is None else states.rounds,
            )
        )

    average = IterateAverage(training.rounds)
    checkpoint = with_states(
        plan,
        resumable(plan, earlier, partition, settings, shared, average),
        states,
    )
    spent = spent_before(start)
    clock = Clock(plan.label, training.rounds, checkpoint.timing if checkpoint else ())
    if checkpoint is not None:
        yield checkpoint._replace(rounds=training.rounds, diverged=None)
        if checkpoint.diverged and checkpoint.diverged.round <= training.rounds:
            raise Diverged(checkpoint.diverged)
        tell_resumed(plan, checkpoint, setup)
        if checkpoint.state.round == training.rounds:
            return
        state = _moved(checkpoint.state, setup)
        spent = curves.resumed(checkpoint.history, checkpoint.validation)
        average.resume(checkpoint, setup.placed)
    else:
        tell_others(plan, earlier, settings)
        state = trained.init(
            start.learned["theta"] if start else setup.model.init(training.seed)
        )
        yield from _at_start(judged(state := _moved(state, setup)), start)

    if not tree_leaves(trained.sent(state.meta)):  # rounds would change nothing
        yield judged(state._replace(round=training.rounds))
        return
    if states and trained.client_state:
        make_task = states.given(make_task, trained.client_state(state.meta))
    price = prices(
        setup.model,
        trained,
        state,
        _sizes(data, training),
        make_task(train_clients[0], 0),
        setup.compression,
    )
    privacy.warn_of_noise(trained.sent(state.meta))
    for number, state, metrics in clock.timed(
        run_rounds(
            trained,
            state,
            (cohort_of(t) for t in range(state.round + 1, training.rounds + 1)),
            setup.updates(make_task),
            seen.skips,
            None if states is None else states.keep,
        ),
        state.round,
    ):
        seen.add(metrics)
        average.add(state)
        spent = summed([spent, *map(price, cohort_of(number))])
        clock.tick(number, seen.loss)
        if number % training.evaluate_every == 0 or number == training.rounds:
            checkpoint = judged(state)
            clock.validated(number, *curves.last_accuracies())
            privacy.tell(number)
            yield checkpoint
            if states:
                states.settle(number)


def _at_start(checkpoint: Checkpoint, start: Checkpoint | None) -> Iterator[Checkpoint]:
    """The first checkpoint, without rows if what it starts from has diverged.

    Raises:
        Diverged: in that case.
    """
    if start is None or start.diverged is None:
        yield checkpoint
        return
    yield checkpoint._replace(
        history={n: t[:0] for n, t in checkpoint.history.items()},
        validation={n: t[:0] for n, t in checkpoint.validation.items()},
    )
    raise Diverged(inherited(start.diverged))


def _cohorts(
    clients: Sequence[ClientId], training: TrainingOptions
) -> Callable[[int], list[ClientId]]:
    size, seed = training.clients_per_round, training.seed
    sample_cohort(clients, size, seed, 1)  # too many asked for: say so before work
    sample = sample_cohort if training.privacy is None else poisson_cohort
    return lambda number: sample(clients, size, seed, number)


def _sizes(
    data: Data, training: TrainingOptions
) -> Callable[[ClientId], tuple[int, int]]:
    """Support and query records of a client in a round."""
    if training.pooled is not None:
        pooled, half = training.pooled, training.pooled // 2
        return lambda client: (half, pooled - half)
    if (episode := training.episode) is not None:
        used = Ids(data.clients["client_id"])
        records = (data.clients["stop"] - data.clients["start"]).to_numpy()
        return lambda client: episode.size(int(records[used.row(client)]))
    table = data.partitioned
    divided = Ids(table["client_id"])
    sides = [table[name].to_numpy() for name in ("num_support", "num_query")]

    def sizes(client: ClientId) -> tuple[int, int]:
        row = divided.row(client)
        return int(sides[0][row]), int(sides[1][row])

    return sizes


def _moved(state: ServerState, setup: Setup) -> ServerState:
    return ServerState(
        setup.placed(state.meta), setup.placed(state.opt_state), state.round
    )


class _Seen:
    """What was seen of the training clients since the last evaluation."""

    def __init__(self, skips: bool) -> None:
        self.skips = skips  # clients whose update is not finite: they are counted
        self._total, self._count, self._skipped = 0.0, 0.0, 0

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        if "loss" in metrics:  # a client has taken part
            self._total += float(metrics["loss"][0])
            self._count += float(metrics["loss"][1])
        if self.skips:
            self._skipped += int(metrics["skipped_clients"][0])

    @property
    def loss(self) -> float:
        return self._total / self._count if self._count else nan

    def take(self) -> dict[str, float]:
        found = {"train_loss": self.loss}
        if self.skips:
            found["train_skipped_clients"] = self._skipped
        self._total, self._count, self._skipped = 0.0, 0.0, 0
        return found
