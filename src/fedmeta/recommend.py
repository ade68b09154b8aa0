"""For a product team: what one user will use next, by a model of a finished run.

The user's log is read, adapted to and forgotten: nothing of it is written anywhere.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
from kedro.utils import find_kedro_project

from fedmeta import identity
from fedmeta.benchmarks.recommendation.features import encoding
from fedmeta.benchmarks.recommendation.upcoming import Value, read_upcoming
from fedmeta.checkpoints import Checkpoint
from fedmeta.configuration import Source, value_of
from fedmeta.core.model import Model
from fedmeta.core.types import Algorithm, Batch, MetaParams
from fedmeta.data.encoding import Codebook, Examples, checksum
from fedmeta.data.errors import DataError
from fedmeta.data.federated import FederatedDataset
from fedmeta.models.tabular import tabular
from fedmeta.pipelines.options import build, build_algorithm
from fedmeta.pipelines.recommendation.methods import FEDERATED

log = logging.getLogger(__name__)

HOME = "recommendation"  # in the catalog and the parameters
PIPELINE = f"{HOME}_fedmeta"


class Recommendation(NamedTuple):
    """A service that may be used next."""

    service: str
    score: float  # probability among the services that the user has used


class TrainedMethod(NamedTuple):
    """What a finished run has learned by one method."""

    metadata: Mapping[str, str]  # of the data that it was trained on
    examples: Examples
    model: Model
    algorithm: Algorithm
    meta: MetaParams


def load_method(
    name: str = "meta_sgd_nn",
    *,
    project: str | Path | None = None,
    env: str | None = None,
    conf_source: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> TrainedMethod:
    """What the last finished run of the recommendation pipeline has learned.

    Args:
        name: of a federated method, in `pipelines.recommendation.methods.FEDERATED`.
        project: folder of the project; None: the one around the current folder.
        env: configuration environment of the run.
        conf_source: folder or archive of its configuration; None: conf/ of the project.
        params: parameters that the run was given by ``--params``.

    Raises:
        ValueError: for an unknown method or parameter, and where no run has finished.
    """
    if name not in FEDERATED:
        raise ValueError(
            f"unknown method {name!r}; one of {', '.join(FEDERATED)}: only what was "
            "trained to adapt can learn from a single log"
        )
    source = Source(env, conf_source)
    context = _context(project, source, params)
    again = shlex.join(["kedro", "run", "--pipeline", PIPELINE, *source.words()])
    again += ", with the same --params" if params else ""
    catalog = context.catalog  # a new one at every access
    records, codebook, checkpoint = (
        _loaded(catalog, f"{HOME}.{kind}", again)
        for kind in ("records", "codebook", f"{name}.checkpoint")
    )
    _check_finished(name, checkpoint, again)
    parameters = context.config_loader["parameters"]
    examples, model, algorithm = _built(name, parameters, codebook)
    _check_origin(name, checkpoint, records, codebook, parameters, again)
    meta = checkpoint.learned
    _check_shapes(name, algorithm.init(model.init(0)).meta, meta, again)
    return TrainedMethod(records.metadata, examples, model, algorithm, meta)


def recommend(
    method: TrainedMethod,
    path: str | Path,
    *,
    top: int = 4,
    at: str | int | datetime | None = None,
    context: Mapping[str, Value] | None = None,
) -> list[Recommendation]:
    """Adapt a method to one user's own log and rank what comes next.

    Args:
        method: from `load_method`.
        path: the log, of the form that the run's raw files have.
        top: how many; fewer where the user has not used so many.
        at: when, written as the times of the log; None: now, by the log's clock.
        context: values of context columns at that time; those left out are missing.

    Returns:
        Services that the user has used, the most probable first; the scores of all of
        them sum to 1.

    Raises:
        DataError: for a log, a time or context that cannot be used.
    """
    if top < 1:
        raise DataError(f"top {top}: expected 1 or more")
    user = read_upcoming(path, method.metadata, at, context)
    for note in user.notes:
        log.info("%s", note)
    last = len(user.columns["label"]) - 1
    # Shuffled as in training, so that the last batch is not the last days alone.
    known = np.random.default_rng(0).permutation(last)
    support = Batch(*method.examples(user.columns, known))
    adapted = method.algorithm.adapt(method.meta, support)
    x, _ = method.examples(user.columns, np.array([last]))
    with torch.no_grad():
        used = method.model.apply(adapted, x)[0, : len(user.services)]  # [services]
        scores = torch.softmax(used, dim=0)
    if not torch.isfinite(scores).all():
        raise DataError(
            f"{path}: adapting to this log diverged; take another method, or smaller "
            "steps in training"
        )
    best = torch.sort(scores, descending=True, stable=True)
    return [
        Recommendation(user.services[place], score)
        for score, place in zip(*(part[:top].tolist() for part in best), strict=True)
    ]


def _context(
    project: str | Path | None, source: Source, params: Mapping[str, Any] | None
) -> KedroContext:
    project = project or find_kedro_project(Path.cwd())
    if project is None:
        raise ValueError(f"{Path.cwd()}: no Kedro project here or above; name one")
    bootstrap_project(project)
    session = KedroSession.create(
        project, **source._asdict(), runtime_params=dict(params or {})
    )
    try:
        context = session.load_context()
        # Kedro's session names the pipelines whose parameters it checks. None is run
        # here: an unfinished block of another benchmark stops nothing.
        context._pipelines_to_validate = []
        return context
    except MissingConfigException as error:
        raise ValueError(str(error)) from None


def _loaded(catalog: CatalogProtocol, name: str, again: str) -> Any:
    if not catalog.exists(name):
        path = getattr(catalog.get(name), "_filepath", name)
        raise ValueError(f"no finished run here: there is no {path}; first: {again}")
    return catalog.load(name)


def _check_finished(name: str, checkpoint: Checkpoint, again: str) -> None:
    if checkpoint.diverged is not None:
        raise ValueError(f"the training of {name} {checkpoint.diverged}; take another")
    if checkpoint.state.round < checkpoint.rounds:
        raise ValueError(
            f"{name} was trained for {checkpoint.state.round:,} of "
            f"{checkpoint.rounds:,} rounds; to go on: {again}"
        )


def _built(
    name: str, parameters: Mapping[str, Any], codebook: Codebook
) -> tuple[Examples, Model, Algorithm]:
    """As the training has built them, from the same blocks of parameters."""
    method = FEDERATED[name]
    examples, sizes, _ = encoding(codebook)
    sizes_of_layers, chunk, own = (
        value_of(parameters, f"{HOME}.{block}")
        for block in (f"models.{method.model}", "training.chunk", name)
    )
    model = build(partial(tabular, **sizes), sizes_of_layers, "model")
    options = {"chunk": chunk, **own}
    return examples, model, build_algorithm(method.algorithm, model.loss, options)


def _check_origin(
    name: str,
    checkpoint: Checkpoint,
    records: FederatedDataset,
    codebook: Codebook,
    parameters: Mapping[str, Any],
    again: str,
) -> None:
    model, own = (
        value_of(parameters, f"{HOME}.{block}")
        for block in (f"models.{FEDERATED[name].model}", name)
    )
    wanted = {
        "data.records": records.checksum,
        "data.codebook": checksum(codebook),
        **identity.settings(model=model, **{name: own}),
    }
    if names := identity.conflicts(checkpoint.settings, wanted):
        words = identity.in_words(names, checkpoint.settings, wanted)
        raise ValueError(f"{name} was trained with {words}; to train it: {again}")


def _check_shapes(name: str, wanted: MetaParams, found: MetaParams, again: str) -> None:
    expected, given = _shapes(wanted), _shapes(found)
    for key in sorted(expected | given):
        if expected.get(key) != given.get(key):
            raise ValueError(
                f"the checkpoint of {name} is of another model or other features: its "
                f"{key} is {given.get(key, 'missing')}, expected "
                f"{expected.get(key, 'none')}; to train it again: {again}"
            )


def _shapes(meta: MetaParams) -> dict[str, list[int]]:
    return {
        f"{part} {name}": list(tensor.shape)
        for part, params in meta.items()
        for name, tensor in params.items()
    }
