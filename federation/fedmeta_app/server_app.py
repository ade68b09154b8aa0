"""On the server: run a pipeline of the project, whose clients are on nodes."""

import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from omegaconf import OmegaConf

from fedmeta.cli import parameter_items
from fedmeta.options import build
from fedmeta.runtime.federation.current import taking_part
from fedmeta.runtime.federation.grid import GridLink
from fedmeta.runtime.federation.roster import Terms
from fedmeta.runtime.federation.rounds import Federation

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, evaluate and report, by the options of the app's pyproject.toml."""
    config = context.run_config
    project = Path(str(config["project"]) or os.environ["FEDMETA_PROJECT"])
    names = ("deadline", "least", "megabytes", "nodes")
    terms = build(Terms, {name: config[name] for name in names}, "run-config")
    federation = Federation(GridLink(grid), terms)
    given = list(parameter_items(str(config["params"])))
    params = OmegaConf.to_container(OmegaConf.from_dotlist(given))
    os.chdir(project)
    with taking_part(federation):
        bootstrap_project(project)
        with KedroSession.create(
            project, env=str(config["env"]) or None, runtime_params=params
        ) as session:
            session.run(pipeline_names=[str(config["pipeline"])])
