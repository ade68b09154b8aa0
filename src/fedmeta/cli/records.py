"""Commands on what runs have left: `kedro reproduce`, `kedro track`, `kedro space`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from fedmeta.cli.options import pairs_given


@click.command("reproduce")
@click.option(
    "--experiment",
    "experiments",
    multiple=True,
    metavar="NAME",
    help="An experiment in MLflow; may be given repeatedly. Default: all.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write into. Default: data/08_reporting/reproduction.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="NAME=VALUE",
    callback=pairs_given,
    help="Use only runs with this parameter, as MLflow names it, or this store; may be "
    "given repeatedly.",
)
@click.pass_obj
def reproduce_command(metadata: Any, **which: Any) -> None:
    """Make the paper's tables and figures from all recorded runs.

    Table 2 with means and standard deviations over seeds, curves, densities, costs,
    and which of the paper's claims hold: as one page, and as tables and figures for a
    paper. What has not been run is shown as missing, with the command that runs it.
    """
    from fedmeta.reproduction.report import reproduce  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    with told_in_a_line("Recorded runs are unchanged; the same command starts over."):
        page = reproduce(metadata.project_path, **which)
    click.echo(f"Report: {page}")


@click.command("track")
@click.pass_obj
def track_command(metadata: Any) -> None:
    """Log recorded runs that MLflow does not have.

    Everything that is logged during a run is also kept under data/. Runs that MLflow
    has lost, or did not get because it could not be reached, are logged from there to
    the project's mlflow.db, or to MLFLOW_TRACKING_URI.
    """
    from fedmeta.pipelines.progress import progress  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415
    from fedmeta.tracking.sender import track  # noqa: PLC0415

    with told_in_a_line("What is logged stays; the same command logs the rest."):
        track(metadata.project_path, click.echo, partial(progress, what="runs"))


@click.command("space")
@click.option("--remove", is_flag=True, help="Remove what is no longer needed.")
@click.pass_obj
def space_command(metadata: Any, remove: bool) -> None:
    """List what takes space in data/ and in MLflow's folder, in bytes.

    Then list what newer results have replaced and is no longer needed: checkpoints of
    code that has changed since, except the newest of each training, and files of runs
    that MLflow no longer has. --remove removes these.
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
