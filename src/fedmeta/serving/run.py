"""What the last finished run of a project has learned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
from kedro.utils import find_kedro_project

from fedmeta import identity
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.configuration import Source
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.serving.learned import Personaliser, build_personaliser, learned_by


def load_run(
    name: str,
    *,
    project: str | Path | None = None,
    env: str | None = None,
    conf_source: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> Personaliser:
    """The model that the last finished run of a benchmark has learned.

    Args:
        name: benchmark and algorithm, such as "femnist.maml", or method, such as
            "recommendation.meta_sgd_nn".
        project: folder of the project; None: the one around the current folder.
        env: configuration environment of the run.
        conf_source: folder or archive of its configuration; None: conf/ of the project.
        params: parameters that the run was given by ``--params``.

    Raises:
        ValueError: for an unknown name or parameter, where no such run has finished,
            and where its files are damaged.
    """
    benchmark, _, algorithm = name.partition(".")
    if benchmark not in BENCHMARKS or not algorithm:
        raise ValueError(
            f"unknown model {name!r}; expected BENCHMARK.ALGORITHM, such as"
            f" femnist.maml, of the benchmarks {', '.join(BENCHMARKS)}"
        )
    source = Source(env, conf_source)
    context = _context(project, source, params)
    own = algorithm if algorithm in ALGORITHMS else "fedmeta"  # a method of its study
    again = source.command(f"{benchmark}_{own}")
    again += ", with the same --params" if params else ""
    catalog = context.catalog  # a new one at every access
    entry = ALGORITHMS.get(algorithm)
    trained = entry.trained_as if entry and entry.trained_as else algorithm
    checkpoint, records, codebook = (
        _loaded(catalog, f"{benchmark}.{kind}", again)
        for kind in (f"{trained}.checkpoint", "records", "codebook")
    )
    found = {"data.records": records.checksum}
    try:
        if names := identity.conflicts(checkpoint.settings, found):
            words = identity.in_words(names, checkpoint.settings, found)
            raise ValueError(f"{algorithm} was trained with {words}")
        return build_personaliser(
            learned_by(algorithm, checkpoint, codebook, records.metadata)
        )
    except ValueError as error:
        raise ValueError(f"{error}; to train it: {again}") from None


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
        path = Path(getattr(catalog.get(name), "_filepath", name))
        raise ValueError(
            f"no finished run here: there is no {path}{_beside(path)}; first: {again}"
        )
    return catalog.load(name)


def _beside(path: Path) -> str:
    """The checkpoints of other algorithms, which are links to the newest of each."""
    names = sorted(p.stem for p in path.parent.glob("*.safetensors") if p.is_symlink())
    return f" (but there are {', '.join(names)})" if names else ""
