"""A stranger's table becomes a report with one command and no code."""

import contextlib
import re
import shlex

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from omegaconf import OmegaConf
from test_docs import ROOT, commands

from fedmeta.cli import parameter_items

PAGE = ROOT / "docs/how-to/own-data.md"
FEW = ["table.training.rounds=2", "table.training.evaluate_every=1"]


def typed(command):
    """Pipeline and parameters of a `kedro run`, as the command line reads them."""
    words = shlex.split(command)
    given = dict(zip(words[2::2], words[3::2], strict=True))
    items = [*parameter_items(given["--params"]), *FEW]
    return given["--pipeline"], OmegaConf.to_container(OmegaConf.from_dotlist(items))


def run(project, command):
    pipeline, params = typed(command)
    with (
        contextlib.chdir(project),
        KedroSession.create(project, runtime_params=params) as session,
    ):
        session.run(pipeline_names=[pipeline])


@pytest.fixture(scope="module")
def project(new_project):
    """A project beside the table of the page."""
    folder = new_project()
    bootstrap_project(folder)
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    with contextlib.chdir(folder):
        exec(compile(block, PAGE, "exec"), {})
    return folder


def test_the_pages_table_becomes_a_report(project):
    whole, *others = commands(PAGE)
    run(project, whole)
    home = "films/table/p0.2_seed0"
    accuracy = pd.read_csv(project / f"data/08_reporting/{home}/accuracy.csv")
    assert len(accuracy) == 5
    assert accuracy["micro_after"].between(0, 100).all()
    page = (project / f"data/08_reporting/{home}/report.html").read_text()
    assert "Data: films.csv<" in page
    assert "synthetic" not in page.lower()
    # what there is nothing to compare with is not compared
    words = re.sub(r"<style.*?</style>|<[^>]*>|data:image[^\"]*", " ", page, flags=re.S)
    assert not re.findall(r"(?i).*\bpaper\b.*|.*quoted as.*", words)
    divided = pd.read_parquet(project / f"data/03_primary/{home}/support_query.parquet")
    assert all((order == sorted(order)).all() for order in divided["order"])
    for command in others:
        run(project, command)
    folder = project / f"data/07_model_output/{home}"
    assert (folder / "per_fedavg_scores.csv").is_file()


def test_what_has_to_be_given_is_told_in_a_line(project):
    bare = "kedro run --pipeline table_fedmeta --params table.raw.client=user"
    told = r"table\.raw: folder, label must be given"
    with pytest.raises(ValueError, match=told) as error:
        run(project, bare)
    assert "--params table.raw.folder=FOLDER,table.raw.label=LABEL" in str(error.value)
    assert "\n" not in str(error.value)
