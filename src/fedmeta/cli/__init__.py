"""Commands of the project beside Kedro's own, which takes them from here.

What a command needs is imported when it is called: these modules are loaded for every
other command too.
"""

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS

from fedmeta.cli.options import parameter_items
from fedmeta.cli.records import reproduce_command, space_command, track_command
from fedmeta.cli.run import run
from fedmeta.cli.sweep import sweep_command
from fedmeta.cli.tables import init_table_command
from fedmeta.cli.use import personalise_command, recommend_command

__all__ = ["cli", "parameter_items", "run"]


# Without a help text, which would stand in the head of `kedro --help`.
cli = click.Group(
    "fedmeta",
    [
        run,  # also that of the packaged project: python -m fedmeta
        sweep_command,
        recommend_command,
        personalise_command,
        init_table_command,
        reproduce_command,
        track_command,
        space_command,
    ],
    context_settings=CONTEXT_SETTINGS,
)
