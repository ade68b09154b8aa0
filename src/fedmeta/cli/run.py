"""Kedro's `run` as this project has it."""

from __future__ import annotations

import copy
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from fedmeta.cli.options import parameters_given


def _adapted(command: click.Command) -> click.Command:
    """Kedro's `run`, with lists in --params, and no warning for --pipeline."""
    run_pipelines: Any = command.callback

    def callback(**given: Any) -> Any:
        # Kedro warns of --pipeline, and refuses it together with --pipelines.
        if given["pipeline"] and not given["pipelines"]:
            given |= {"pipelines": [given["pipeline"]], "pipeline": None}
        return run_pipelines(**given)

    adapted = copy.copy(command)
    adapted.callback = callback
    adapted.params = [copy.copy(option) for option in command.params]
    for option in adapted.params:
        if option.name == "params":
            option.callback = parameters_given
    return adapted


run = _adapted(kedro_run)
