"""Choosing hyperparameters on validation clients, by successive halving.

All configurations of an algorithm are trained for the rounds of the first rung, the
best of them on to those of the next, and so on (Jamieson and Talwalkar 2016, arXiv
1502.07943). No test client is looked at.
"""

import logging
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import pandas as pd

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.checkpoints import Checkpoint, EarlierCheckpoints
from fedmeta.core.algorithms import ALGORITHMS, options_of
from fedmeta.core.cost import analytic_flops
from fedmeta.options import check_algorithm
from fedmeta.pipelines.checks import Block, check_private, checked_by, mappings
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.options import PartitionOptions, TrainingOptions
from fedmeta.pipelines.studies.options import TuningOptions
from fedmeta.pipelines.training.nodes import train
from fedmeta.pipelines.training.setup import TrainingPlan, made_with

log = logging.getLogger(__name__)

AS_TRAINED = "as trained"  # in place of a configuration of the adaptation
JUDGED = "tuning"  # the name under which a checkpoint's history keeps its judgements
KEYS = ["algorithm", "adaptation", "iterate", "settings"]  # that tell them apart
COLUMNS = ["algorithm", "training", "configuration", "adaptation", "rounds", "iterate"]
COLUMNS += ["accuracy", "work", "kept"]

Blocks = dict[str, dict[str, Any]]  # options by the name of their block


class Configuration(NamedTuple):
    """One setting of an algorithm's options."""

    words: str  # the options that differ from the algorithm's block
    blocks: Blocks


def configurations(
    name: str, blocks: Blocks, changes: list[dict[str, Any]]
) -> list[Configuration]:
    """The configurations of an algorithm: its block with each of some changes."""
    return [
        Configuration(
            ", ".join(f"{k}={v}" for k, v in identity.settings(**changed).items()),
            {**blocks, name: {**blocks.get(name, {}), **changed}},
        )
        for changed in changes
    ]


def check_tuning(
    names: list[str],
    tuning: Block,
    training: Block,
    **others: Any,
) -> None:
    """Options of every configuration of the algorithms."""
    blocks = mappings(others)
    changes = TuningOptions(**tuning.options).configurations
    for name in names:
        if not changes.get(name):
            raise ValueError(
                f"{tuning.name}.configurations.{name}: missing; list at least one"
                " configuration, {} for the options of the algorithm's block"
            )
        for number, own in enumerate(configurations(name, blocks, changes[name]), 1):
            what = f"{tuning.name}.configurations.{name}, number {number}"
            options = options_of(name, own.blocks)
            check_algorithm(what, name, options)
            if name == names[0]:  # the others share its trainings
                check_private(name, training, Block(what, options))


@checked_by(check_tuning)
def tune(
    benchmark: Benchmark,
    names: list[str],
    reference: str,
    data: Data,
    earlier: EarlierCheckpoints,
    partition: PartitionOptions,
    training: TrainingOptions,
    model: dict,
    tuning: TuningOptions,
    **algorithms: dict,
) -> Iterator[tuple[Checkpoint, pd.DataFrame]]:
    """Train configurations of the first of ``names``; choose one for each of ``names``.

    The other names share its trainings: each of their configurations is judged on each
    training. A training that is among the best for any name is continued.

    Yields:
        (checkpoint, table) as trainings go on. The table has a row an algorithm,
        training, configuration of adaptation, iterate ("last", or "average" over the
        last quarter of the rounds) and rung: ``accuracy`` after adaptation, in percent
        of all query records of the validation clients; ``work``, operations of a client
        update over those of the reference; ``kept``, whether the training went on to
        the next rung, or was chosen at the last.

    Raises:
        ValueError: for a configuration whose client update costs more than
            ``tuning.work_limit`` times the reference's.
    """
    plan = TrainingPlan(
        benchmark, data, training, model, [*names, reference], algorithms
    )
    trained, watched = names[0], data.part("validation")
    candidates = configurations(trained, algorithms, tuning.configurations[trained])
    tables = [pd.DataFrame(columns=COLUMNS)]
    settings = {
        **plan.settings(),
        **identity.settings(
            tuning={
                **tuning.model_dump(),
                "configurations": {n: tuning.configurations[n] for n in names},
            }
        ),
        **identity.code(tune),
    }

    def joined() -> pd.DataFrame:
        table = pd.concat(tables)[COLUMNS]
        table.attrs = made_with(settings)
        return table

    def judged(checkpoint: Checkpoint, blocks: Blocks) -> pd.DataFrame:
        """Judge a finished training, reusing judgements that its checkpoint has."""
        found = {"last": checkpoint.state.meta, "average": checkpoint.average}
        # Where nothing is learned in rounds there is no average.
        iterates = {name: meta for name, meta in found.items() if meta is not None}
        held = checkpoint.history.get(JUDGED, pd.DataFrame(columns=[*KEYS, "rounds"]))
        held = held[held["rounds"] == checkpoint.state.round]
        known = {tuple(map(row.get, KEYS)): row for row in held.to_dict("records")}
        rows = []
        for name in names:
            tried = (
                [Configuration(AS_TRAINED, blocks)]
                if name == trained
                else configurations(name, blocks, tuning.configurations[name])
            )
            for (words, own), (iterate, meta) in product(tried, iterates.items()):
                key = name, words, iterate, _adapted_with(name, own)
                if key not in known:
                    setup = plan._replace(names=[name], blocks=own).prepare()
                    scores = pd.DataFrame(setup.evaluated(name, meta, watched))
                    hits = scores["accuracy_sum_after"].sum()
                    known[key] = dict(zip(KEYS, key, strict=True)) | {
                        "rounds": checkpoint.state.round,
                        "accuracy": 100 * float(hits / scores["num_query"].sum()),
                    }
                rows.append(known[key])
        return pd.DataFrame(rows)

    _check_layers(plan, names, tuning)
    unit = _work(plan, reference, algorithms)
    shares = [_work(plan, trained, own) / unit for _, own in candidates]
    for (words, _), share in zip(candidates, shares, strict=True):
        if share > tuning.work_limit:
            raise ValueError(
                f"tuning.configurations.{trained}: a client update with {words} costs"
                f" {share:.2f} times one of {reference}, above the work_limit of"
                f" {tuning.work_limit:g}; leave it out, or raise the limit"
            )

    going = list(range(len(candidates)))
    for rung in tuning.rungs:
        found = []
        for number in going:
            words, own = candidates[number]
            log.info(
                "%s, configuration %d of %d, to round %d: %s",
                trained,
                number + 1,
                len(candidates),
                rung.rounds,
                words,
            )
            for checkpoint, *_ in train(
                benchmark,
                [trained],
                data,
                earlier,
                partition,
                training.model_copy(update={"rounds": rung.rounds}),
                model,
                **own,
            ):
                yield checkpoint, joined()
            if checkpoint.diverged is not None:
                said = [trained, "diverged", "last", "", float("nan")]
                judgement = pd.DataFrame([said], columns=[*KEYS, "accuracy"])
            else:
                judgement = judged(checkpoint, own)
                history = {**checkpoint.history, JUDGED: judgement}
                checkpoint = checkpoint._replace(history=history)
                yield checkpoint, joined()
            found.append(
                judgement.assign(
                    training=number + 1,
                    configuration=words,
                    rounds=rung.rounds,
                    work=shares[number],
                )
            )
        table = pd.concat(found, ignore_index=True)
        tables.append(table.assign(kept=_kept(table, rung.keep)))
        going = sorted({n - 1 for n in tables[-1].loc[tables[-1]["kept"], "training"]})
        yield checkpoint, joined()
        if not going:  # all have diverged
            return


def _check_layers(plan: TrainingPlan, names: list[str], tuning: TuningOptions) -> None:
    """Tell of an unknown layer before anything is trained.

    Raises:
        ValueError: for it.
    """
    for name in names:
        for _, own in configurations(name, plan.blocks, tuning.configurations[name]):
            setup = plan._replace(names=[name], blocks=own).prepare()
            setup.algorithms[name].init(setup.model.init(plan.training.seed))


def _work(plan: TrainingPlan, name: str, blocks: Blocks) -> float:
    """Operations of all training clients' updates in a round."""
    setup = plan._replace(names=[name], blocks=blocks).prepare()
    sizes = plan.data.partitioned
    sizes = sizes[sizes["client_id"].isin(plan.data.part("train"))]
    return sum(
        analytic_flops(
            setup.algorithms[name].work(row.num_support, row.num_query),
            setup.model.flops,
        )
        for row in sizes.itertuples()
    )


def _adapted_with(name: str, blocks: Blocks) -> str:
    """Fingerprint of the options and code that adapt and judge a training."""
    options = identity.settings(options=options_of(name, blocks))
    code = identity.code(tune, ALGORITHMS[name].factory)
    return identity.fingerprint({**options, **code})


def _kept(table: pd.DataFrame, keep: int) -> pd.Series:
    """The best row of each of the ``keep`` best trainings for each algorithm."""
    best = table.sort_values("accuracy", ascending=False, kind="stable")
    best = best.dropna(subset="accuracy").drop_duplicates(["algorithm", "training"])
    return table.index.to_series().isin(best.groupby("algorithm").head(keep).index)
