"""Commands that use a trained model: `kedro recommend`, `kedro personalise`."""

from pathlib import Path
from typing import Any

import click

from fedmeta.cli.options import of_a_run, pairs_given

ROWS = click.Path(exists=True, dir_okay=False, allow_dash=True)


def _top(default: int, help_: str) -> Any:
    return click.option(
        "--top",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help=help_,
    )


@click.command("recommend")
@click.argument("log", type=ROWS, default="-")
@click.option(
    "--method",
    default="meta_sgd_nn",
    show_default=True,
    help="A federated method of the run.",
)
@_top(4, "Number of services.")
@click.option("--at", help="Time, in the format of the log's times. Default: now.")
@click.option(
    "--context",
    multiple=True,
    metavar="NAME=VALUE",
    callback=pairs_given,
    help="Context at that time, such as battery=80; may be given repeatedly.",
)
@of_a_run
@click.pass_obj
def recommend_command(
    metadata: Any,
    log: str,
    method: str,
    top: int,
    at: str | None,
    context: dict[str, str],
    style: str,
    **of_run: Any,
) -> None:
    """Rank the services that one user may use next.

    LOG is that user's log, a file like those of the run, or standard input, as CSV or
    JSON. The model of the last `kedro run --pipeline recommendation_fedmeta` is adapted
    to it. Nothing of LOG is written anywhere.
    """
    from fedmeta.serving import load_run, recommend  # noqa: PLC0415
    from fedmeta.serving.tables import STANDARD_INPUT, read_rows, written  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    # Not left to the session, which would keep details of the log in a file.
    with told_in_a_line("Nothing was written."):
        name = f"recommendation.{method}"
        trained = load_run(name, project=metadata.project_path, **of_run)
        own = read_rows(log) if log == STANDARD_INPUT else log
        found = recommend(trained, own, top=top, at=at, context=context)
    written(found, style)


@click.command("personalise")
@click.argument("model", metavar="BENCHMARK.ALGORITHM")
@click.argument("table", type=ROWS, default="-")
@_top(1, "Number of labels for each row, the best first.")
@click.option(
    "--node",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a federation's node, to use its parameters and not those of a run.",
)
@of_a_run
@click.pass_obj
def personalise_command(
    metadata: Any,
    model: str,
    table: str,
    top: int,
    node: Path | None,
    style: str,
    **of_run: Any,
) -> None:
    """Predict labels of users' records, by a model adapted to those with a label.

    BENCHMARK.ALGORITHM is the last training of an algorithm, such as femnist.maml of
    `kedro run --pipeline femnist_fedmeta`. TABLE has a row for each record, with a
    user, a label (empty: to be predicted) and the record: a CSV, TSV, Parquet, JSON or
    JSON Lines file, or standard input. Nothing of TABLE is written anywhere.
    """
    if node and any(of_run.values()):
        raise click.UsageError(
            "--node takes the place of a run, and with it of --env, --conf-source and"
            " --params"
        )
    from fedmeta.serving import load_node, load_run, personalise  # noqa: PLC0415
    from fedmeta.serving.tables import read_rows, written  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    with told_in_a_line("Nothing was written."):
        if node:
            trained = load_node(model, node)
        else:
            trained = load_run(model, project=metadata.project_path, **of_run)
        found = personalise(trained, read_rows(table), top)
    written(found, style)
