"""Kedro hooks around a run: check parameters before it, show results after it."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from fedmeta.configuration import Loader, globals_of
from fedmeta.session import TrainingDiverged, did_you_mean

log = logging.getLogger(__name__)

ANYTHING = "*"  # below a key whose value is null


class CheckParameters:
    """Refuses misspelt parameters before any work starts."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Check --params, which Kedro adds without checking that anything reads them.

        Raises:
            ValueError: for a key that is in no parameters file and not in globals.yml,
                and for a project's path that Kedro cannot take.
        """
        if set("{}") & set(str(context.project_path)):
            raise ValueError(
                f"{context.project_path}: Kedro's catalog takes braces in a path for a"
                " placeholder; move or rename the project's folder"
            )
        given = context.config_loader.runtime_params
        if given:
            refuse_unknown(given, known_keys(context.config_loader))
        self._loader = context.config_loader

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Kedro checks parameters with a type; these have their factory's arguments.

        Without this, an error in the last algorithm's block shows after hours.

        Raises:
            ValueError: for a missing block or one that nothing reads, an unknown
                option, a wrong type, or what contradicts a folder's name.
        """
        # Late: torch takes seconds to import, and other commands do without.
        from fedmeta.pipelines.checks import check_pipeline  # noqa: PLC0415

        parameters = self._loader["parameters"]
        refuse_unread(pipeline, parameters)
        check_pipeline(pipeline, parameters, globals_of(self._loader))
        warn_untouched(pipeline, self._loader)


class ShowTheWay:
    """Logs at the end of a run where to find its results."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        self._project = Path(context.project_path)

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        names = (n for n in sorted(pipeline.outputs()) if ".report." in n)
        files = [
            Path(path)
            for n in names
            if (path := getattr(catalog.get(n), "_filepath", ""))
        ]
        pages = [path for path in files if path.suffix == ".html"]
        for path in pages or files:
            below = path.is_relative_to(self._project)
            log.info("Report: %s", path.relative_to(self._project) if below else path)
        log.info("Graph and figures: make viz (or kedro viz run)")


class TellDivergence:
    """Fails a run after everything else is done, if a training diverged."""

    @hook_impl
    def before_pipeline_run(self) -> None:
        self._found: dict[str, str] = {}

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        mark = getattr(data, "attrs", {}).get("diverged")
        if mark is not None:
            whose = f"client {mark['client']}" if mark["client"] else "the server"
            words = f"diverged at round {mark['round']} ({whose}: {mark['cause']})"
            self._found[dataset_name.rpartition(".")[0]] = words

    after_dataset_saved = after_dataset_loaded

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Registered after the others, it is the last.

        Raises:
            TrainingDiverged: naming each training, round and client.
        """
        if self._found:
            told = "; ".join(f"{name} {why}" for name, why in self._found.items())
            raise TrainingDiverged(f"{told}. Everything else is finished.")


def known_keys(loader: Loader) -> set[str]:
    """Dotted keys of the parameters files and of globals.yml, mappings included."""
    plain = loader.plain()
    keys = {k for kind in ("parameters", "globals") for k in _dotted(plain[kind])}
    return keys | set(inherited(keys))


def refuse_unread(pipeline: Pipeline, parameters: Mapping[str, Any]) -> None:
    """Refuse a block beside those that a pipeline reads, if no pipeline reads it.

    In a file a misspelt block would change nothing, and nobody would be told.

    Raises:
        ValueError: names the block and the nearest that is read.
    """
    own = _blocks_read(pipeline)
    read = own.union(*map(_blocks_read, pipelines.values()))
    for home in sorted({name.partition(".")[0] for name in own}):
        blocks = parameters.get(home)
        # What is no mapping lacks all that is read: `check_pipeline` says so.
        for block in blocks if isinstance(blocks, Mapping) else ():
            name = f"{home}.{block}"
            if name not in read and not block.startswith("_"):
                raise ValueError(
                    f"{name} in the parameters files: no pipeline reads such a block;"
                    f" {did_you_mean(name, read)}"
                )


def warn_untouched(pipeline: Pipeline, loader: Loader) -> None:
    """Warn where an environment was asked for that changes nothing of a pipeline.

    Such as ``--env tuned`` for a benchmark that has no tuned parameters: it runs with
    those of conf/base, on the generated sample.
    """
    named = loader.named_in_env() if loader.env else set()
    homes = {name.partition(".")[0] for name in _blocks_read(pipeline)}
    if named and homes and not homes & named:
        log.warning(
            "environment %s has no parameters of %s: this run takes those of conf/%s",
            loader.env,
            " and ".join(sorted(homes)),
            loader.base_env,
        )


def _blocks_read(pipeline: Pipeline) -> set[str]:
    """ "femnist.maml" of "params:femnist.maml.inner_lr"."""
    names = (n.partition(":")[2] for n in pipeline.inputs() if n.startswith("params:"))
    return {".".join(name.split(".")[:2]) for name in names if "." in name}


def inherited(keys: set[str]) -> Iterator[str]:
    """Keys that an algorithm's block has from those that its options are like."""
    # Late: torch takes seconds to import, and other commands do without.
    from fedmeta.core.algorithms import ALGORITHMS, blocks_of  # noqa: PLC0415

    for name, entry in ALGORITHMS.items():
        if entry.trained_as is not None:
            continue  # the training that it shares would ignore them
        for above in blocks_of(name)[:-1]:
            for key in keys:
                benchmark, _, rest = key.partition(f".{above}.")
                if rest:
                    yield f"{benchmark}.{name}.{rest}"


def refuse_unknown(given: Mapping[str, Any], known: set[str]) -> None:
    """One error for all keys of ``given`` that are not known, with the nearest ones.

    The options of what is chosen by a name, such as an optimiser, depend on the name,
    and those of what is null in the files are not there to compare with: both are
    checked where they are used.
    """
    wanted = [key for key in _dotted(given) if not key.endswith(f".{ANYTHING}")]
    unknown = [key for key in wanted if not _is_known(key, known)]
    if unknown:
        raise ValueError("; ".join(_explain(key, known) for key in unknown))


def _is_known(key: str, known: set[str]) -> bool:
    above = key
    while above := above.rpartition(".")[0]:
        if f"{above}.{ANYTHING}" in known:
            return True
    return key in known or f"{key.rpartition('.')[0]}.name" in known


def _explain(key: str, known: set[str]) -> str:
    hint = did_you_mean(key, known)
    return f"unknown parameter {key!r}: {hint} (all are in conf/base/parameters_*.yml)"


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Keys of the tree, each before those below it."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if value is None:
            yield f"{prefix}{key}.{ANYTHING}"
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
