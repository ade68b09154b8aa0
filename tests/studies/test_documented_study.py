"""The study of docs/how-to/add-a-study.md, as it is written there."""

import contextlib
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta.studies import STUDIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "add-a-study.md").read_text()


def block(language: str) -> str:
    return re.search(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)[1]


def test_a_study_is_a_file_of_at_most_80_lines():
    assert len(block("python").splitlines()) <= 80


@pytest.mark.slow
@pytest.mark.usefixtures("graphs_anew")
def test_the_documented_study_runs(new_project, monkeypatch):
    project = new_project()
    (project / "conf" / "base" / "parameters_proximal.yml").write_text(block("yaml"))
    small = {"training": {"rounds": 2, "evaluate_every": 2, "clients_per_round": 2}}
    (project / "conf" / "smoke" / "parameters_proximal.yml").write_text(
        yaml.safe_dump({"femnist_proximal_study": small})
    )
    names: dict = {}
    exec(compile(block("python"), "proximal.py", "exec"), names)
    study = names["STUDY"]
    monkeypatch.setitem(STUDIES, study.home, study)
    bootstrap_project(project)
    with contextlib.chdir(project), KedroSession.create(project, env="smoke") as run:
        run.run(pipeline_names=[study.home])
    (page,) = (project / "data" / "08_reporting").rglob(f"{study.home}/*/report.html")
    assert "The proximal term" in page.read_text()
    accuracy = pd.read_csv(page.with_name("accuracy.csv"))
    assert accuracy["mu"].tolist() == [0.0, 1.0]
    assert accuracy["after"].between(0, 100).all()
    (claim,) = pd.read_csv(page.with_name("claims.csv")).itertuples()
    assert claim.verdict == "undecided"  # one seed
