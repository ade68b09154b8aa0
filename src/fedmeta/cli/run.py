"""Kedro's `run` as this project has it."""

import copy
import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from kedro import runner
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import KedroCliError

from fedmeta.cli.options import parameters_given

PARAMS_HELP = (
    "Parameters of this run: NAME=VALUE, or several with commas between, such as"
    " seed=1,femnist.maml.inner_lr=0.01. A list is NAME=[VALUE,VALUE]."
)


class RunCommand(click.Command):
    """Tells Kedro's errors of options, which end without their message otherwise."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Click's: options are read here."""
        with _told():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Click's: options are seen together here."""
        with _told():
            return super().invoke(ctx)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except KedroCliError as error:
        raise click.UsageError(error.message) from None


def _known_runner(ctx: click.Context, param: click.Parameter, given: Any) -> Any:
    """Kedro's own by its name, or another by module and name."""
    known = [n for n in runner.__all__ if re.match("(?!Abstract).*Runner", n)]
    if given and "." not in given and given not in known:
        near = difflib.get_close_matches(given, known, n=1)
        hint = f" (is it {near[0]}?)" if near else ""
        raise click.BadParameter(
            f"no runner {given!r}{hint}; expected one of {', '.join(known)}"
        )
    return given


def _adapted(command: click.Command) -> RunCommand:
    """Kedro's `run`, with lists in --params, and no warning for --pipeline."""
    run_pipelines: Any = command.callback

    def callback(**given: Any) -> Any:
        # Kedro warns of --pipeline, and refuses it together with --pipelines.
        if given["pipeline"] and not given["pipelines"]:
            given |= {"pipelines": [given["pipeline"]], "pipeline": None}
        return run_pipelines(**given)

    options = [copy.copy(option) for option in command.params]
    checks = {"params": parameters_given, "runner": _known_runner}
    for option in options:
        option.callback = checks.get(option.name or "", option.callback)
        if option.name == "params" and isinstance(option, click.Option):
            option.help = PARAMS_HELP
    return RunCommand(
        command.name, callback=callback, params=options, help=command.help
    )


run = _adapted(kedro_run)
