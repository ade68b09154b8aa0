"""Kedro's configuration: its loader, and what globals.yml says of folders' names."""

import glob
import shlex
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from fsspec.implementations.local import LocalFileSystem
from kedro.config import (
    AbstractConfigLoader,
    MissingConfigException,
    OmegaConfigLoader,
)
from kedro.pipeline.node import Node
from omegaconf import OmegaConf

from fedmeta.identity import ROUND_LOOP

KEPT = 32  # configurations, of about 0.2 MB
DEFAULTS = "defaults"  # the block of parameters that those of benchmarks depart from
PARAMETERS = "params:"  # how Kedro marks them among the inputs of nodes
# Globals that folders of results are named by -> an option of the blocks whose option
# of that name is read from them.
IN_PATHS = {"seed": ROUND_LOOP, "support_fraction": "strategy"}


class Block(NamedTuple):
    """A block of parameters that a node reads."""

    name: str  # dotted, as in the parameters files
    options: Any


class Source(NamedTuple):
    """Source of a run's configuration."""

    env: str | None = None  # None: local
    conf_source: str | None = None  # a folder, archive or address; None: conf/

    def words(self) -> list[str]:
        """Command-line options that select it."""
        named = {"--env": self.env, "--conf-source": self.conf_source}
        return [word for name, to in named.items() if to for word in (name, to)]

    def command(self, pipeline: str, params: str = "") -> str:
        """The `kedro run` command of a pipeline, with what --params takes."""
        words = ["kedro", "run", "--pipeline", pipeline, *self.words()]
        return shlex.join([*words, *(["--params", params] if params else [])])


class Loader(OmegaConfigLoader):
    """Kedro's own looks for nothing in ``/data/[old]``: it takes ``[`` for a pattern.

    It also reads all files again each time that it is asked, half a second that a run
    spends ten times. Here what was read is kept while no file changes. Where a version
    of Kedro no longer asks the last method below, all is as with its own.
    """

    _kept: dict[tuple[object, ...], dict[str, Any]] = {}  # of all loaders of a process

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Kedro's own, which does not say which environments there are.

        Returns:
            a copy, which the caller may change.

        Raises:
            MissingConfigException: for an unknown one.
        """
        root, env = Path(self.conf_source), self.env
        if env and root.is_dir() and not (root / env).is_dir():
            there = sorted(path.name for path in root.iterdir() if path.is_dir())
            raise MissingConfigException(
                f"no environment {env!r}: {root} has {', '.join(there)} (--env)"
            )
        if key in self.data or self._protocol != "file":
            return self._read(key)
        state = self._state(key)
        if state not in self._kept:
            found = self._read(key)
            while len(self._kept) >= KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[state] = found
        return deepcopy(self._kept[state])

    def _read(self, key: str) -> dict[str, Any]:
        # The last loader that was made would otherwise give its globals to this one.
        self._register_globals_resolver()
        found = dict(super().__getitem__(key))
        return _completed(found) if key == "parameters" else found

    def plain(self) -> "Loader":
        """Of the same files, without what was given on the command line."""
        return Loader(
            self.conf_source,
            self.env,
            config_patterns=self.config_patterns,
            base_env=self.base_env,
            default_run_env=self.default_run_env,
            merge_strategy=self.merge_strategy,
        )

    def named_in_env(self) -> set[str]:
        """What the parameters files of the environment, alone, name first."""
        found: set[str] = set()
        for path in Path(self.conf_source, self.env or "").rglob("parameters*.y*ml"):
            found |= {str(name) for name in OmegaConf.load(path)}
        return found

    def _state(self, key: str) -> tuple[object, ...]:
        """Everything that decides what is read."""
        folders = {self.base_env, self.env or self.default_run_env}
        files = [
            (str(path), status.st_mtime_ns, status.st_size, status.st_ino)
            for folder in sorted(folders)
            for path in sorted(Path(self.conf_source, folder).rglob("*"))
            if path.exists()  # an editor's lock is a link to nothing
            for status in [path.stat()]
        ]
        given = self.runtime_params, self.merge_strategy, self.config_patterns
        return key, *files, self.env, self.base_env, repr(given)

    @staticmethod
    def _initialise_filesystem_and_protocol(conf_source: str) -> tuple[Any, str]:
        found, protocol = OmegaConfigLoader._initialise_filesystem_and_protocol(
            conf_source
        )
        return (_Folder(conf_source) if protocol == "file" else found), protocol


class _Folder(LocalFileSystem):
    """Local files, searched below a folder whose own name is no pattern."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root = Path(root)

    def glob(self, path: str, **_: Any) -> list[str]:
        pattern = str(Path(path).relative_to(self._root))
        names = glob.glob(
            pattern, root_dir=self._root, recursive=True, include_hidden=True
        )
        return [str(self._root / name) for name in names]


def _completed(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters in which benchmarks have the defaults for what they do not name."""
    defaults = parameters.pop(DEFAULTS, {})
    for name, block in parameters.items():
        if isinstance(block, dict) and "raw" in block:
            parameters[name] = _merged(deepcopy(defaults), block)
    return parameters


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    for name, value in above.items():
        old = below.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            _merged(old, value)
        else:
            below[name] = value
    return below


def globals_of(loader: AbstractConfigLoader) -> dict[str, Any]:
    """Values of globals.yml, or those given by --params."""
    given = loader.runtime_params
    return {name: given.get(name, value) for name, value in loader["globals"].items()}


def store_of(loader: AbstractConfigLoader) -> str:
    """The folder under data/* that a run's files are in."""
    return str(globals_of(loader)["store"])


def check_paths(blocks: Mapping[str, Any], named: Mapping[str, Any]) -> None:
    """Refuse an option that differs from the value that names the result folders.

    Results would overwrite those of another run.

    Args:
        blocks: of parameters, by name.
        named: the globals.

    Raises:
        ValueError: with what to give in its place.
    """
    for name, block in blocks.items():
        if not isinstance(block, Mapping):
            continue
        check_paths({f"{name}.{key}": block[key] for key in block}, named)
        for option, beside in IN_PATHS.items():
            value = block.get(option, named[option])
            if beside in block and value != named[option]:
                raise ValueError(
                    f"{name}.{option}={value}, but results would go into folders that"
                    f" are named by {option}={named[option]}; give {option}={value}"
                    " instead, which both are read from (by --params, or in"
                    " globals.yml)"
                )


def value_of(parameters: Mapping[str, Any], name: str) -> Any:
    """The parameter of a dotted name.

    Raises:
        ValueError: where there is none.
    """
    value: Any = parameters
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise ValueError(
                f"parameters {name}: missing; add the block to conf/base/parameters_"
                f"{name.partition('.')[0]}.yml, where the other benchmarks' files show"
                " what it holds"
            )
        value = value[key]
    return value


def blocks_read(node: Node, parameters: Mapping[str, Any]) -> dict[str, Block]:
    """The parameters of a node by argument.

    Raises:
        ValueError: where one is missing.
    """
    given = node._inputs  # by argument, which `node.inputs` does not tell
    return {
        argument: Block(name, value_of(parameters, name))
        for argument, dataset in given.items()
        if (name := dataset.removeprefix(PARAMETERS)) != dataset
    }
