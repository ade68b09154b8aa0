"""`kedro sweep`: a pipeline over a grid of parameters."""

from typing import Any

import click
from kedro.framework.cli.utils import env_option

from fedmeta.cli.options import conf_source_option


def _axes(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> list[dict[str, str]]:
    from fedmeta.sweep.grid import grid, parse_axis  # noqa: PLC0415

    try:
        return grid(map(parse_axis, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("sweep")
@click.option("--pipeline", "-p", required=True, help="Name of a registered pipeline.")
@click.option(
    "--params",
    "grid",
    multiple=True,
    metavar="NAME=V1,V2,...",
    callback=_axes,
    help="Values of one parameter; given repeatedly, every combination is a cell.",
)
@env_option
@conf_source_option
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of processes, which share the cores; 1: this one.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run on a dask cluster instead, as tcp://127.0.0.1:8786.",
)
@click.option("--dry-run", "dry", is_flag=True, help="Only show what would be done.")
@click.pass_context
def sweep_command(
    ctx: click.Context,
    pipeline: str,
    grid: list[dict[str, str]],
    env: str | None,
    conf_source: str | None,
    **how: Any,
) -> None:
    """Run a pipeline over a grid of parameters.

    A cell that has finished before, with the same parameters, data and code, is not run
    again; an interrupted one is resumed. One that fails does not stop the others.
    """
    from fedmeta.configuration import Source  # noqa: PLC0415
    from fedmeta.session import KEPT, told_in_a_line  # noqa: PLC0415
    from fedmeta.sweep.sweep import sweep  # noqa: PLC0415

    if how["scheduler"] and how["workers"] > 1:
        raise click.UsageError("--workers and --scheduler: only one of them")
    with told_in_a_line(KEPT):
        source = Source(env, conf_source)
        done = sweep(ctx.obj.project_path, pipeline, source, grid, **how)
    if not done:
        ctx.exit(1)
