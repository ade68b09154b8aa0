"""Commands of the project beside Kedro's own, which takes them from here.

Imports are late: this module is loaded for every other command too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, _split_params, env_option


@click.group(name="fedmeta", context_settings=CONTEXT_SETTINGS)
def cli() -> None:
    pass  # a docstring would stand in the head of `kedro --help`


def _pairs(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r}: expected NAME=VALUE")
    return dict(pair.split("=", 1) for pair in given)


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
@env_option(help="Environment of the run.")
@click.option(
    "--params",
    type=click.UNPROCESSED,
    default="",
    callback=_split_params,
    help="What the run was given by --params.",
)
@click.pass_obj
def recommend_command(
    metadata: Any,
    log: Path,
    method: str,
    top: int,
    at: str | None,
    context: dict[str, str],
    env: str | None,
    params: dict[str, Any],
) -> None:
    """Which services one user will use next, with scores.

    LOG is that user's own, a file like those that the run was trained on. The model of
    the last `kedro run --pipeline recommendation_fedmeta` is adapted to it. Nothing of
    LOG is written anywhere.
    """
    from fedmeta.recommend import load_method, recommend  # noqa: PLC0415
    from fedmeta.session import USER_ERRORS, message_of  # noqa: PLC0415

    try:
        trained = load_method(
            method, project=metadata.project_path, env=env, params=params
        )
        found = recommend(trained, log, top=top, at=at, context=context)
    except USER_ERRORS as error:
        # Not left to the session, which would keep details of the log in a file.
        raise click.ClickException(message_of(error)) from None
    for service, score in found:
        click.echo(f"{score:.3f}  {service}")
