"""`kedro init-table`: the parameters of a table of one's own."""

from pathlib import Path
from typing import Any

import click


@click.command("init-table")
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option("--client", help="Column of the client whose record it is.")
@click.option("--label", help="Column of the class to predict.")
@click.option("--time", help="Column of the time of the record, if there is one.")
@click.option(
    "--leave-out",
    multiple=True,
    metavar="COLUMN",
    help="A column that a model must not see; may be given repeatedly.",
)
@click.pass_obj
def init_table_command(metadata: Any, table: Path, **columns: Any) -> None:
    """Describe a table of your own, and write a configuration for its runs.

    TABLE is a file, or a folder of parts, as in docs/how-to/own-data.md. The
    configuration is a new environment, conf/<name>, named after the table.
    """
    from fedmeta.benchmarks.table.describe import (  # noqa: PLC0415
        check_roles,
        describe,
        write_environment,
    )
    from fedmeta.data.errors import printable  # noqa: PLC0415
    from fedmeta.session import told_in_a_line  # noqa: PLC0415

    with told_in_a_line("Nothing was written."):
        check_roles(table, **columns)
        found = []
        for line in map(printable, describe(table, **columns)):
            click.echo(line)
            found.append(line)
        conf = metadata.project_path / "conf"
        name = write_environment(conf, table.absolute(), found, **columns)
    click.echo(f"Written: {conf.name}/{name}/parameters_table.yml; edit it, or type:")
    click.echo(f"kedro run --pipeline table_fedmeta --env {name}")
