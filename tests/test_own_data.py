"""A stranger's table becomes a report with one command and no code."""

import contextlib
import re
import shlex
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from omegaconf import OmegaConf
from test_docs import ROOT, commands

from fedmeta.benchmarks.images import digits
from fedmeta.cli import cli, parameter_items

PAGE = ROOT / "docs/how-to/own-data.md"


def typed(command):
    """Pipeline, environment and parameters of a `kedro run`."""
    words = shlex.split(command)
    given = dict(zip(words[2::2], words[3::2], strict=True))
    pipeline = given["--pipeline"]
    few = f"{pipeline.partition('_')[0]}.training"
    items = [*parameter_items(given.get("--params", "")), f"{few}.rounds=2"]
    params = OmegaConf.from_dotlist([*items, f"{few}.evaluate_every=1"])
    return pipeline, given.get("--env"), OmegaConf.to_container(params)


def run(project, command):
    pipeline, env, params = typed(command)
    with (
        contextlib.chdir(project),
        KedroSession.create(project, env=env, runtime_params=params) as session,
    ):
        session.run(pipeline_names=[pipeline])


@pytest.fixture(scope="module")
def project(new_project):
    """A project beside the table of the page."""
    folder = new_project()
    bootstrap_project(folder)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    with contextlib.chdir(folder):
        exec(compile("".join(blocks), PAGE, "exec"), {})
    return folder


def test_the_pages_table_becomes_a_report(project):
    whole, alone = (c for c in commands(PAGE) if "store=films" in c)
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
    run(project, alone)
    folder = project / f"data/07_model_output/{home}"
    assert (folder / "per_fedavg_scores.csv").is_file()


def test_an_environment_is_written_for_a_table(project):
    """Its run is that of the parameters on the command line."""
    wanted = "init-table|_fedmeta --env films"
    command, whole = (c for c in commands(PAGE) if re.search(wanted, c))
    init = shlex.split(command)[2:]
    metadata = SimpleNamespace(project_path=project)
    with contextlib.chdir(project):
        done = CliRunner().invoke(cli, ["init-table", *init], obj=metadata)
        again = CliRunner().invoke(cli, ["init-table", *init], obj=metadata)
    assert done.exit_code == 0, done.output
    assert "2,400 records of 60 clients" in done.output
    assert "records a client: 40 (client '0') to 40" in done.output
    assert "numbers: 'minutes'" in done.output
    assert "categories: 'colour' of 2 values" in done.output
    assert "in order of time" in done.output
    assert done.output.strip().endswith(whole)
    assert again.exit_code == 1 and "films: there is such an env" in again.output
    pipeline, env, params = typed(whole)
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        loader = session.load_context().config_loader
    assert loader["globals"]["store"] == "films"
    raw = loader["parameters"]["table"]["raw"]
    assert (raw["client"], raw["label"], raw["time"]) == ("user", "liked", "day")
    assert raw["folder"] == str(project / "films.csv")
    written = (project / "conf/films/parameters_table.yml").read_text()
    for line in done.output.splitlines()[:6]:  # what it has found
        assert re.search(rf"^# .*{re.escape(line)}$", written, re.M)
    bare = ["init-table", str(project / "films.csv"), "--label", "liked"]
    told = CliRunner().invoke(cli, bare, obj=metadata)
    assert "columns are 'user', 'day', 'minutes', 'colour', 'liked'; say" in told.output
    assert told.output.strip().endswith("give --client")
    wrong = ["init-table", str(project / "films.csv"), "--client", "usr"]
    told = CliRunner().invoke(cli, [*wrong, "--label", "liked"], obj=metadata)
    assert "no column 'usr' (is it 'user'?)" in told.output


@pytest.mark.slow
def test_the_digits_become_a_report(project, monkeypatch, capsys):
    write, whole = (c for c in commands(PAGE) if "digits" in c and "table" not in c)
    assert write == f"python -m {digits.__name__}"
    monkeypatch.setattr("sys.argv", ["digits"])
    with contextlib.chdir(project):
        digits.main()
    assert "data/01_raw/digits: 1,797 images" in capsys.readouterr().out
    run(project, whole)
    home = project / "data/08_reporting/digits/images/p0.2_seed0"
    assert "Data: scikit-learn&#39;s digits<" in (home / "report.html").read_text()
    table = pd.read_csv(home.parent / "statistics.csv").set_index("quantity")["value"]
    assert table["classes"] == 10
    assert table["classes_min"] < 5  # clients differ in labels
    assert table["samples"] <= 1797


def test_what_has_to_be_given_is_told_in_a_line(project):
    bare = "kedro run --pipeline table_fedmeta --params table.raw.client=user"
    told = r"table\.raw: folder, label must be given"
    with pytest.raises(ValueError, match=told) as error:
        run(project, bare)
    assert "--params table.raw.folder=FOLDER,table.raw.label=LABEL" in str(error.value)
    assert "\n" not in str(error.value)
