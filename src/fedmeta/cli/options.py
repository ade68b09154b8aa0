"""Options that several commands take."""

from collections.abc import Iterator
from typing import Any

import click
from kedro.framework.cli.project import CONF_SOURCE_HELP
from kedro.framework.cli.utils import env_option, validate_conf_source
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load

OPENING = ("[", "{", "'", '"')  # how a value begins that may hold commas

conf_source_option = click.option(
    "--conf-source", callback=validate_conf_source, help=CONF_SOURCE_HELP
)


def parameters_given(ctx: click.Context, param: click.Parameter, given: Any) -> dict:
    """Kedro's --params, extended to lists and mappings."""
    if isinstance(given, dict):  # from the file of --config
        return given
    items = list(parameter_items(given))
    for item in items:
        if not item.partition("=")[0].strip() or "=" not in item:
            raise click.BadParameter(
                f"{item!r}: expected NAME=VALUE, or several with commas between; a list"
                " is NAME=[VALUE,VALUE], or stands in a file for --config"
            )
    try:
        found: Any = OmegaConf.to_container(OmegaConf.from_dotlist(items))
        return found
    except (YAMLError, OmegaConfBaseException):
        raise click.BadParameter(
            f"{given!r}: a value that is no YAML; is a bracket or a quote left open?"
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


def pairs_given(
    ctx: click.Context, param: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    for pair in given:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r}: expected NAME=VALUE")
    return dict(pair.split("=", 1) for pair in given)


_run_options = (
    env_option(help="Environment of the run."),
    conf_source_option,
    click.option(
        "--params",
        type=click.UNPROCESSED,
        default="",
        callback=parameters_given,
        help="As the run was given them.",
    ),
    click.option(
        "--format",
        "style",
        type=click.Choice(["text", "csv", "json"]),
        default="text",
        show_default=True,
        help="Format of the output.",
    ),
)


def of_a_run(command: Any) -> Any:
    """Add the options of commands that use a finished run."""
    for option in reversed(_run_options):
        command = option(command)
    return command
