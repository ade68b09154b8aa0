"""`kedro sweep` over the smallest pipeline: what runs, what does not, how it ends."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta import identity
from fedmeta.configuration import Source
from fedmeta.estimates import read_json
from fedmeta.pipelines.training import nodes
from fedmeta.sweep import cells as cells_module
from fedmeta.sweep.grid import grid, parse_axis
from fedmeta.sweep.sweep import sweep

PIPELINE, ENV = "femnist_maml", "smoke"
SOURCE = Source(ENV)
KEDRO = str(Path(sys.executable).with_name("kedro"))


@pytest.fixture(scope="module")
def project(new_project):
    folder = new_project()
    bootstrap_project(folder)
    return folder


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project)
    # No tracking: its store takes seconds to make, and tests/tracking is about it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/mlflow.db")


def run(project, *axes, workers=1, dry=False):
    given = grid(map(parse_axis, axes))
    return sweep(project, PIPELINE, SOURCE, given, workers=workers, dry=dry)


def records(project):
    found = (project / "data/08_reporting/smoke/sweeps").glob("*.json")
    return {path: read_json(path) for path in found}


def begun(caplog):
    """Numbers of the cells that began since this was asked last."""
    found = [re.match(r"cell (\d+) .*: started", r.message) for r in caplog.records]
    caplog.clear()
    return [int(match[1]) for match in found if match]


@pytest.fixture
def told(caplog):
    caplog.set_level("INFO", "fedmeta.sweep")
    return caplog


def results(project, p, seed):
    folder = project / f"data/07_model_output/smoke/femnist/p{p}_seed{seed}"
    return {path.name: content(path) for path in sorted(folder.glob("*.*"))}


def content(path):
    """All of a file's bytes, but for the seconds that a training took."""
    if not path.name.endswith("_history.json"):
        return path.read_bytes()
    return {**json.loads(path.read_text()), "timing": None, "sha256": None}


def test_finished_cells_are_skipped(project, told, capsys):
    axes = ("support_fraction=0.2,0.5", "seed=0")
    assert run(project, *axes, dry=True)
    assert not records(project)
    assert not (project / "data/02_intermediate/smoke").exists()
    assert capsys.readouterr().out.count("to run") == 2

    assert run(project, *axes)
    assert begun(told) == [1, 2]
    written = records(project)
    assert len(written) == 2
    record = next(iter(written.values()))
    assert set(record) == {
        "cell",
        "began",
        "seconds",
        "host",
        "kedro_session",
        "settings",
    }
    settings = record["settings"]
    assert settings["femnist.training.rounds"] == 4
    assert len(settings["data.femnist.records"]) == 64
    assert settings["code.core.optimizers"]

    assert run(project, "seed=0,1", "support_fraction=0.5")
    assert begun(told) == [2]  # the other is one of those
    capsys.readouterr()
    assert run(project, *axes, dry=True)
    assert capsys.readouterr().out.count("finished 20") == 2

    (project / "data/07_model_output/smoke/femnist/p0.5_seed0/maml_scores.csv").unlink()
    assert run(project, *axes)
    assert begun(told) == [2]
    # The cell's record says how long it took.
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"About [\d.]+ s for what is to run, a cell after the other", said)


def test_fedavg_is_trained_once_for_all_support_fractions(project, monkeypatch):
    genuine, trained = nodes.run_rounds, []

    def watched(algorithm, state, *rest):
        trained.append(state.round)
        return genuine(algorithm, state, *rest)

    monkeypatch.setattr(nodes, "run_rounds", watched)
    given = grid(map(parse_axis, ("support_fraction=0.2,0.5,0.9", "seed=21")))
    assert sweep(project, "femnist_fedavg_meta", SOURCE, given)
    assert trained == [0]
    shared = [results(project, p, 21) for p in (0.2, 0.5, 0.9)]
    assert len({table["fedavg_meta_history.csv"] for table in shared}) == 3
    # as a run of its own would have it
    for path in (project / "data/06_models").rglob("p*_seed21/*"):
        path.unlink()
    params = {"seed": 21, "support_fraction": 0.5}
    with KedroSession.create(project, env=ENV, runtime_params=params) as session:
        session.run(pipeline_names=["femnist_fedavg_meta"])
    assert trained == [0, 0]
    assert results(project, 0.5, 21) == shared[1]


def test_what_makes_another_cell(project, told, monkeypatch):
    assert run(project, "seed=0")
    begun(told)
    assert run(project, "seed=0", "femnist.maml.inner_lr=0.05")  # as in conf/
    assert begun(told) == []
    assert run(project, "femnist.maml.inner_lr=0.06")
    assert begun(told) == [1]
    assert run(project, "femnist.meta_sgd.alpha_init=0.9")  # which it does not read
    assert begun(told) == []
    assert run(project, "femnist.raw.sample.seed=1")  # other data
    assert begun(told) == [1]
    assert run(project, "femnist.training.rounds=3")
    assert begun(told) == [1]


def test_what_makes_no_other_cell(project, told, monkeypatch):
    """How it is computed and judged, templates, other algorithms, another parser."""
    assert run(project, "seed=0")
    begun(told)
    given = (
        "femnist.training.evaluate_every=1",
        "femnist.training.evaluation_clients=1",
        "femnist.training.chunk=32",
        "femnist.training.backend=sequential",
        "femnist.training.clients_at_once=1",
    )
    assert run(project, "seed=0", *given)
    assert begun(told) == []
    other = identity.code(
        "reporting.report", "core.algorithms.reptile", "benchmarks.femnist.parse"
    )
    own = cells_module.code_of(pipelines[PIPELINE])
    assert other.keys() - own.keys()
    for name in other.keys() - own.keys():
        monkeypatch.setitem(identity.EQUIVALENT, other[name], "changed")
    assert run(project, "seed=0")
    assert begun(told) == []


def test_changed_code_makes_another_cell_and_is_told(project, told, monkeypatch):
    assert run(project, "seed=0", "femnist.maml.inner_lr=0.05")
    code = cells_module.code_of(pipelines[PIPELINE])
    begun(told)
    monkeypatch.setitem(identity.EQUIVALENT, code["code.core.optimizers"], "changed")
    assert run(project, "seed=0", dry=True)
    assert "finished before, with other code (core/optimizers.py)" in told.text
    assert run(project, "seed=0")
    assert begun(told) == [1]
    assert run(project, "seed=0")
    assert begun(told) == []


def test_records_of_an_earlier_version_are_told(project, told):
    old = project / "data/08_reporting/smoke/sweeps/0123456789abcdef.json"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_text('{"cell": "cell 1 of 1 (seed=0)", "pipeline": "femnist_maml"}')
    assert run(project, "seed=77", dry=True)
    old.unlink()
    assert "1 finished cells do not count: they were recorded" in told.text


@pytest.mark.slow
def test_cells_in_processes_are_what_kedro_run_makes(project, capsys):
    """Whatever else stands in the files that they share, meanwhile."""
    axes = ("support_fraction=0.2,1.5", "seed=5,6", "femnist.partition.seed=3,4")
    assert not run(project, *axes, workers=2)
    out = " ".join(capsys.readouterr().out.split())
    assert "4 of 8 cells are finished, 4 failed" in out
    assert out.count("support_fraction=1.5,seed=5,") == 2

    made = results(project, 0.2, 6)
    assert {name for name in made if name.endswith(".csv")} == {
        "maml_history.csv",
        "maml_scores.csv",
    }
    for path in (project / "data/06_models").rglob("p0.2_seed6/*"):
        path.unlink()  # so that it is trained anew
    params = {"seed": 6, "femnist": {"partition": {"seed": 4}}}
    with KedroSession.create(project, env=ENV, runtime_params=params) as session:
        session.run(pipeline_names=[PIPELINE])
    assert results(project, 0.2, 6) == made


def test_a_failed_cell_stops_no_other(project, capsys):
    assert not run(
        project,
        "seed=11",
        "femnist.training.clients_per_round=99,2",
        "support_fraction=0.3,1.5",
    )
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 4 cells are finished, 3 failed" in out
    assert "clients_per_round is 99, but there are 16 training clients" in out
    again = re.search(r"kedro run .*?params (\S+)", out)
    assert shlex.split(again[0])[-1] == (
        "seed=11,femnist.training.clients_per_round=99,support_fraction=0.3"
    )


def test_configuration_from_elsewhere(new_project, tmp_path, monkeypatch):
    folder = new_project()
    shutil.move(folder / "conf", tmp_path / "conf")
    monkeypatch.chdir(folder)
    elsewhere = Source(ENV, str(tmp_path / "conf"))
    assert sweep(folder, "femnist_data", elsewhere, [{}])
    assert (folder / "data/02_intermediate/smoke/femnist/records.arrow").exists()


def test_unknown_names_stop_a_sweep_before_it_begins(project):
    with pytest.raises(ValueError, match="did you mean femnist_maml"):
        sweep(project, "femnist_mam", SOURCE, [{}])
    with pytest.raises(ValueError, match="did you mean femnist.maml.inner_lr"):
        run(project, "femnist.maml.iner_lr=1,2")


def test_cells_that_would_write_into_one_folder_stop_it_too(project):
    with pytest.raises(ValueError, match=r"seed=3, but .* give seed=3 instead"):
        run(project, "femnist.training.seed=3,4")


def test_two_sweeps_at_once_are_refused(project):
    from filelock import FileLock  # noqa: PLC0415

    home = project / "data/08_reporting/smoke/sweeps"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "lock"), pytest.raises(ValueError, match="another sweep"):
        run(project, "seed=0")


@pytest.mark.slow
def test_ctrl_c_and_on(project, told):
    words = ["--params", "seed=21,22", "--params", "femnist.training.rounds=60"]
    command = [KEDRO, "sweep", "--pipeline", PIPELINE, "--env", ENV, *words]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job would ignore the signal, and hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        first = False
        for line in process.stdout:
            first = first or "cell 1 of 2" in line and "finished" in line
            if first and "maml, round 4 of 60" in line:
                os.kill(process.pid, signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "1 of 2 cells are finished, 0 failed" in rest
    assert "the same command resumes" in rest
    assert "Traceback" not in rest

    assert run(project, "seed=21,22", "femnist.training.rounds=60")
    assert begun(told) == [2]
