"""How a command ends when it does not end well: in a line, not a page."""

import contextlib
import difflib
import re
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.validation.exceptions import ParameterValidationError
from yaml import YAMLError

from fedmeta.data.errors import printable
from fedmeta.data.files import remove_leftovers
from fedmeta.display import told
from fedmeta.stops import stop_behind, stoppable

RENAMED = {  # pipelines: the name that somebody may still type -> the name now
    "femnist_nustep": "femnist_nu_step_study",
    "femnist_perfedavg": "femnist_per_fedavg_study",
}
KEPT = "Evaluated rounds are kept; the same command resumes from them."
DETAILS = "error.log"  # in the project's folder; git ignores *.log
# What a user can do something about; any other error is a defect, shown in full.
USER_ERRORS = (
    ValueError,
    DatasetError,
    ParameterValidationError,
    MissingConfigException,  # an environment that there is not
    OSError,
    MemoryError,
    YAMLError,  # a file that cannot be parsed, which the message names
)
OF_TORCH = "not enough memory|out of memory"  # how its own error says so
# How Kedro names the block of parameters that an error is in, and several of them.
HEAD = r"^Parameter validation failed:\s*- "
BLOCK = r"(\s- )?Parameter '([^']*)': Failed to instantiate \w+ for parameter '[^']*'"


def _nodes(pipeline: Pipeline) -> set[str]:
    return {node.name for node in pipeline.nodes}


def _tags(pipeline: Pipeline) -> set[str]:
    return {tag for node in pipeline.nodes for tag in node.tags}


# Arguments of `Session.run` by which parts are selected: how they are typed, what they
# name, and what a pipeline has of that.
SELECTING: dict[str, tuple[str, str, Callable[[Pipeline], set[str]]]] = {
    "node_names": ("--nodes", "node", _nodes),
    "from_nodes": ("--from-nodes", "node", _nodes),
    "to_nodes": ("--to-nodes", "node", _nodes),
    "from_inputs": ("--from-inputs", "dataset", Pipeline.datasets),
    "to_outputs": ("--to-outputs", "dataset", Pipeline.datasets),
    "tags": ("--tags", "tag", _tags),
}


class Session(KedroSession):
    """Kedro's session, with one-line messages for errors that a user can act on."""

    def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """`KedroSession.run`, telling hooks of a stop, which Kedro does not."""
        with stoppable(), told(self._project_path):
            try:
                one = kwargs.get("pipeline_name") or "__default__"
                names = kwargs.get("pipeline_names") or [one]
                pipelines.set_requested(names)  # Kedro does, and would make them again
                refuse_unknown(sum(map(registered, names), Pipeline([])), kwargs)
                remove_leftovers(self._project_path / "data")
                return super().run(*args, **kwargs)
            except BaseException as error:
                if stop_behind(error) is not None:
                    for _, plugin in reversed(self._hook_manager.list_name_plugin()):
                        getattr(plugin, "on_interrupt", lambda: None)()
                raise

    def __exit__(self, exc_type: Any, exc_value: Any, tb_: Any) -> None:
        super().__exit__(exc_type, exc_value, tb_)
        if click.get_current_context(silent=True) is None:
            return  # used from Python, where an exception is what is wanted
        details = self._project_path / DETAILS
        if isinstance(exc_value, KeyboardInterrupt):
            failed = exc_value.__cause__ is not None
            where = keep_details(exc_value, details) if failed else ""
            raise Stopped(exc_value, f"{KEPT}\n{where}".rstrip()) from None
        if isinstance(exc_value, TrainingDiverged):
            raise click.ClickException(str(exc_value)) from None
        if is_user_error(exc_value):
            said = f"{message_of(exc_value)}\n{keep_details(exc_value, details)}"
            raise click.ClickException(said.rstrip()) from None


def registered(name: str) -> Pipeline:
    """The registered pipeline of that name.

    Raises:
        ValueError: if there is none; it names those that are spelt alike, or the new
            name.
    """
    if name in RENAMED:
        raise ValueError(f"the pipeline {name} is called {RENAMED[name]} now")
    if name not in pipelines:
        hint = did_you_mean(name, pipelines.keys())
        raise ValueError(f"no pipeline {name!r}; {hint} (all: kedro registry list)")
    found: Pipeline = pipelines[name]
    return found


def refuse_unknown(pipeline: Pipeline, given: Mapping[str, Any]) -> None:
    """Refuse options that select parts of a pipeline by names that it does not have.

    Raises:
        ValueError: names the option, and the pipeline that has the name or, where none
            has, what is spelt alike.
    """
    for option, (typed, kind, there) in SELECTING.items():
        for name in given.get(option) or ():
            if name in there(pipeline):
                continue
            others = [p for p, found in pipelines.items() if name in there(found)]
            if others:  # Kedro-Viz tells commands without it
                whole_first = [p for p in others if p.endswith("_fedmeta")] or others
                hint = f"add --pipeline {min(whole_first, key=len)}"
            else:
                hint = did_you_mean(name, there(pipeline))
            raise ValueError(f"no {kind} {name!r} in this pipeline ({typed}); {hint}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an error: the names that are spelt alike."""
    near = difflib.get_close_matches(name, sorted(known))
    return f"did you mean {' or '.join(near)}?" if near else "none is like it"


class TrainingDiverged(ValueError):
    """A run is finished and reported, but for a training that diverged."""


def tolerate(stream: Any) -> None:
    """Make a stream show "?" for characters that its encoding lacks."""
    if hasattr(stream, "reconfigure"):  # a notebook's has not
        stream.reconfigure(errors="replace")


class Stopped(click.ClickException):
    """Ctrl-C, or a signal that does the same."""

    exit_code: int  # type: ignore[misc]  # click reads it off the instance

    def __init__(self, stop: KeyboardInterrupt, kept: str) -> None:
        super().__init__(f"Stopped. {kept}")
        # as shells have it
        self.exit_code = 128 + getattr(stop, "number", signal.SIGINT)

    def show(self, file: Any = None) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone, perhaps
            click.echo(f"\n{self.message}", err=True)


@contextlib.contextmanager
def told_in_a_line(kept: str) -> Iterator[None]:
    """Turn stops and user errors into one-line messages.

    Args:
        kept: shown after a stop: what is kept, and how to resume.

    Raises:
        ClickException: for an error that a user can act on; `Stopped` after a signal.
    """
    try:
        with stoppable():
            yield
    except KeyboardInterrupt as stop:
        raise Stopped(stop, kept) from None
    except BaseException as error:
        if not is_user_error(error):
            raise
        raise click.ClickException(message_of(error)) from None


def message_of(error: BaseException) -> str:
    """Message of the original error, which Kedro may have wrapped."""
    first = next((e for e in _chain(error) if not isinstance(e, DatasetError)), error)
    if _is_lack_of_memory(first):
        return (
            f"out of memory ({_one_line(first)}); smaller clients_at_once, chunk and"
            " clients_per_round of the block training, or fewer workers, take less"
        )
    # An OSError says what, and the DatasetError around it says where.
    return _one_line(first if isinstance(first, ValueError) else error)


def _one_line(error: BaseException) -> str:
    text = re.sub(HEAD, "", str(error))
    text = re.sub(BLOCK, lambda found: ("; " if found[1] else "") + found[2], text)
    return printable(" ".join(text.split()))


def is_user_error(error: BaseException | None) -> bool:
    """Whether a user can do something about it."""
    return isinstance(error, USER_ERRORS) or _is_lack_of_memory(error)


def _is_lack_of_memory(error: BaseException | None) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and re.search(OF_TORCH, str(error), re.IGNORECASE) is not None
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def keep_details(error: BaseException, path: Path) -> str:
    """Write the traceback of an error into a file; say which, if that was possible."""
    try:
        text = "".join(traceback.format_exception(error))
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:  # the disk is full, perhaps
        return ""
    return f"(details: {path})"
