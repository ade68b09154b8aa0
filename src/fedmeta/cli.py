"""Commands of the project beside Kedro's own, which takes them from here.

Imports are late: this module is loaded for every other command too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import CONF_SOURCE_HELP
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import (
    CONTEXT_SETTINGS,
    env_option,
    validate_conf_source,
)
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load

OPENING = ("[", "{", "'", '"')  # how a value begins that may hold commas


@click.group(name="fedmeta", context_settings=CONTEXT_SETTINGS)
def cli() -> None:
    pass  # a docstring would stand in the head of `kedro --help`


def _parameters(ctx: click.Context, param: click.Parameter, given: Any) -> dict:
    """Kedro's --params, extended to lists and mappings."""
    if isinstance(given, dict):  # from the file of --config
        return given
    items = list(parameter_items(given))
    for item in items:
        if not item.partition("=")[0].strip() or "=" not in item:
            raise click.BadParameter(
                f"{item!r}: expected NAME=VALUE, or several with commas between; a list"
                " is NAME=[VALUE,VALUE], or stands in a file for --config",
                ctx,
                param,
            )
    try:
        found: Any = OmegaConf.to_container(OmegaConf.from_dotlist(items))
        return found
    except (YAMLError, OmegaConfBaseException):
        raise click.BadParameter(
            f"{given!r}: a value that is no YAML; is a bracket or a quote left open?",
            ctx,
            param,
        ) from None


def parameter_items(given: str) -> Iterator[str]:
    """Split at commas, except within lists, mappings and quotes."""
    pieces = iter(given.split(","))
    for item in pieces:
        while not _is_whole(item):
            following = next(pieces, None)
            if following is None:
                break  # never closed: whoever reads it will say so
            item += f",{following}"  # noqa: PLW2901
        if item.strip():
            yield item.strip()


def _is_whole(item: str) -> bool:
    value = item.partition("=")[2].strip()
    try:
        if value.startswith(OPENING):
            safe_load(value)
    except YAMLError:
        return False
    return True


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
            option.callback = _parameters
    return adapted


run = _adapted(kedro_run)  # also that of the packaged project: python -m fedmeta
cli.add_command(run)
conf_source_option = click.option(
    "--conf-source", callback=validate_conf_source, help=CONF_SOURCE_HELP
)


def _pairs(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r}: expected NAME=VALUE")
    return dict(pair.split("=", 1) for pair in given)


run_options = (
    env_option(help="Environment of the run."),
    conf_source_option,
    click.option(
        "--params",
        type=click.UNPROCESSED,
        default="",
        callback=_parameters,
        help="What the run was given by --params.",
    ),
    click.option(
        "--format",
        "style",
        type=click.Choice(["text", "csv", "json"]),
        default="text",
        show_default=True,
        help="Of what is printed.",
    ),
)


def _of_a_run(command: Any) -> Any:
    """Add the options of commands that use a finished run."""
    for option in reversed(run_options):
        command = option(command)
    return command


@cli.command("recommend")
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--method",
    default="meta_sgd_nn",
    show_default=True,
    help="A federated method of the run.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="How many services.",
)
@click.option("--at", help="When, written as the log's times are; else now.")
@click.option(
    "--context",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs,
    help="What is known at that time, such as battery=80; may be given repeatedly.",
)
@_of_a_run
@click.pass_obj
def recommend_command(
    metadata: Any,
    log: Path,
    method: str,
    top: int,
    at: str | None,
    context: dict[str, str],
    style: str,
    **of_run: Any,
) -> None:
    """Which services one user will use next, with scores.

    LOG is that user's own, a file like those that the run was trained on. The model of
    the last `kedro run --pipeline recommendation_fedmeta` is adapted to it. Nothing of
    LOG is written anywhere.
    """
    from fedmeta.serving import load_run, recommend  # noqa: PLC0415
    from fedmeta.serving.tables import written  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    # Not left to the session, which would keep details of the log in a file.
    with told_in_a_line("Nothing was written."):
        name = f"recommendation.{method}"
        trained = load_run(name, project=metadata.project_path, **of_run)
        found = recommend(trained, log, top=top, at=at, context=context)
    written(found, style)


@cli.command("personalise")
@click.argument("model", metavar="BENCHMARK.ALGORITHM")
@click.argument(
    "table",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    default="-",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many labels a row, the best first.",
)
@_of_a_run
@click.pass_obj
def personalise_command(
    metadata: Any, model: str, table: str, top: int, style: str, **of_run: Any
) -> None:
    """Labels of users' records, by a model adapted to those with a label.

    BENCHMARK.ALGORITHM is a training of the last `kedro run --pipeline
    BENCHMARK_fedmeta`, such as femnist.maml. TABLE has a row a record, with a user, a
    label (empty: to be predicted) and the record: a CSV, TSV, Parquet, JSON or JSON
    Lines file, or standard input. Nothing of TABLE is written anywhere.
    """
    from fedmeta.serving import load_run, personalise  # noqa: PLC0415
    from fedmeta.serving.tables import read_rows, written  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    with told_in_a_line("Nothing was written."):
        trained = load_run(model, project=metadata.project_path, **of_run)
        found = personalise(trained, read_rows(table), top)
    written(found, style)


@cli.command("init-table")
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option("--client", required=True, help="Column of whose record it is.")
@click.option("--label", required=True, help="Column of the class to predict.")
@click.option("--time", help="Column of when the record was made, if there is one.")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="COLUMN",
    help="A column that a model must not see; may be given repeatedly.",
)
@click.pass_obj
def init_table_command(metadata: Any, table: Path, **columns: Any) -> None:
    """Show what a table of one's own holds, and write the parameters of its runs.

    TABLE is a file, or a folder of parts, as in docs/how-to/own-data.md. A new
    environment of its name, conf/<name>, is written; nothing is changed.
    """
    from fedmeta.benchmarks.table.describe import (  # noqa: PLC0415
        describe,
        write_environment,
    )
    from fedmeta.data.errors import printable  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    with told_in_a_line("Nothing was written."):
        for line in describe(table, **columns):
            click.echo(printable(line))
        conf = metadata.project_path / "conf"
        name = write_environment(conf, table.absolute(), **columns)
    click.echo(f"Written: {conf.name}/{name}/parameters_table.yml; edit it, or type:")
    click.echo(f"kedro run --pipeline table_fedmeta --env {name}")


@cli.command("reproduce")
@click.option(
    "--experiment",
    "experiments",
    multiple=True,
    metavar="NAME",
    help="An experiment in MLflow; may be given repeatedly. Else all.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write into; else data/08_reporting/reproduction.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs,
    help="A parameter, as MLflow names it, or the store that the runs must have; may "
    "be given repeatedly.",
)
@click.pass_obj
def reproduce_command(
    metadata: Any,
    experiments: tuple[str, ...],
    output: Path | None,
    where: dict[str, str],
) -> None:
    """The paper's tables and figures from all recorded runs.

    Table 2 with means and standard deviations over seeds, curves, densities, costs,
    and which of the paper's claims hold: as one page, and as tables and figures for a
    paper. What has not been run is shown as missing, with the line that runs it.
    """
    from fedmeta.reproduction.report import reproduce  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    with told_in_a_line("Recorded runs are unchanged; the same command starts over."):
        page = reproduce(
            metadata.project_path, experiments=experiments, output=output, where=where
        )
    click.echo(f"Report: {page}")


@cli.command("track")
@click.pass_obj
def track_command(metadata: Any) -> None:
    """Log to MLflow what it lacks of the recorded runs.

    Everything that is logged during a run is also kept under data/. Runs that MLflow
    has lost, or never got because it could not be reached, are logged from there into
    the project's mlflow.db, or to MLFLOW_TRACKING_URI.
    """
    from fedmeta.pipelines.progress import progress  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415
    from fedmeta.tracking.sender import track  # noqa: PLC0415

    with told_in_a_line("What is logged stays; the same command logs the rest."):
        track(metadata.project_path, click.echo, partial(progress, what="runs"))


@cli.command("space")
@click.option("--remove", is_flag=True, help="Remove what newer results have replaced.")
@click.pass_obj
def space_command(metadata: Any, remove: bool) -> None:
    """What takes space in data/ and in MLflow's folder, in bytes.

    Below it stands what newer results have replaced, and nothing needs: checkpoints of
    code that has changed since, but for the newest of each training, and files of runs
    that MLflow no longer has. It stays until --remove is given.
    """
    from fedmeta import space  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    project = metadata.project_path
    with told_in_a_line("What is removed is gone; the rest stays."):
        for place in space.places(project):
            click.echo(f"{place.size:>15,}  {place.path}")
        found, gone = list(space.replaced(project)), 0
        click.echo(
            "\nReplaced by newer results:" if found else "\nNothing is replaced."
        )
        for one in found:
            stays = remove and not space.remove(project, one)
            gone += 0 if stays else one.size
            note = "; stays: a run is at work there" if stays else ""
            click.echo(f"{one.size:>15,}  {one.path}: {one.why}{note}")
        if found:
            done = "removed" if remove else "to be removed by kedro space --remove"
            click.echo(f"{gone:>15,}  bytes {done}")


def _axes(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> list[dict[str, str]]:
    from fedmeta.sweep.grid import grid, parse_axis  # noqa: PLC0415

    try:
        return grid(map(parse_axis, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@cli.command("sweep")
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
    help="How many processes, which share the cores; 1: this one.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run on a dask cluster instead, as tcp://127.0.0.1:8786.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.pass_context
def sweep_command(
    ctx: click.Context,
    pipeline: str,
    grid: list[dict[str, str]],
    env: str | None,
    conf_source: str | None,
    workers: int,
    scheduler: str | None,
    dry_run: bool,
) -> None:
    """Run a pipeline over a grid of parameters.

    A cell that has finished before, with the same parameters, data and code, is not run
    again; an interrupted one is resumed. One that fails does not stop the others.
    """
    from fedmeta.configuration import Source  # noqa: PLC0415
    from fedmeta.session import KEPT, told_in_a_line  # noqa: PLC0415
    from fedmeta.sweep.sweep import sweep  # noqa: PLC0415

    if scheduler and workers > 1:
        raise click.UsageError("--workers and --scheduler: only one of them")
    with told_in_a_line(KEPT):
        done = sweep(
            ctx.obj.project_path,
            pipeline,
            Source(env, conf_source),
            grid,
            workers=workers,
            scheduler=scheduler,
            dry=dry_run,
        )
    if not done:
        ctx.exit(1)
