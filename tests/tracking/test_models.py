"""What a run has learned, as a model that MLflow loads and serves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import held
import learned_samples as samples
import mlflow.pyfunc
import pandas as pd
import pytest
import requests
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.checkpoints import write_checkpoint
from fedmeta.core.types import Divergence
from fedmeta.data.encoding import Codebook
from fedmeta.datasets import CodebookDataset
from fedmeta.serving import build_personaliser, personalise
from fedmeta.tracking import models
from fedmeta.tracking.record import FINISHED, Record
from fedmeta.tracking.store import Store
from fedmeta.tracking.uri import tracking_uri


def recorded(project: Path, benchmark: str = "femnist", **changed: object) -> Record:
    """A finished run's record, with all that it refers to."""
    checkpoint, codebook, metadata = samples.checkpoint_of(benchmark, project)
    write_checkpoint(project / "maml.safetensors", checkpoint._replace(**changed))
    CodebookDataset(str(project / "codebook.safetensors")).save(codebook)
    return Record(
        project / "runs" / f"{benchmark}-maml",
        f"{benchmark} (synthetic demo)",
        "maml p0.2 s0",
        status=FINISHED,
        ended=1,
        tags={"algorithm": "maml", "benchmark": benchmark},
        parameters={"algorithm.inner_lr": "0.5"},
        checkpoint="maml.safetensors",
        codebook="codebook.safetensors",
        data=metadata,
    )


def log(project: Path, record: Record) -> None:
    store = Store(tracking_uri(project), project / "mlartifacts")
    for _ in store.log(record, project):
        pass


@pytest.fixture
def store(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, whose store `models:/` addresses are of, as in its folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(project))
    return project


def test_an_upload_that_is_cut_is_finished_by_the_next(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a killed process: half of a file is left, and a model that is not ready."""
    record, halves = recorded(store), []
    genuine = MlflowClient.log_model_artifacts

    def cut(self: MlflowClient, number: str, folder: str) -> None:
        model = self.get_logged_model(number)
        run = self.get_run(model.source_run_id)
        for place in (run.info.artifact_uri, model.artifact_location):
            half = Path(local_file_uri_to_path(place)) / ".artifact.uploading.x"
            halves.append(half)
            half.parent.mkdir(parents=True, exist_ok=True)
            half.touch()
        raise OSError("cut")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", cut)
    with pytest.raises(OSError, match="cut"):
        log(store, record)
    monkeypatch.setattr(MlflowClient, "log_model_artifacts", genuine)
    log(store, record)
    assert len(halves) == 2 and not any(half.exists() for half in halves)
    client = MlflowClient(tracking_uri(store))
    experiments = [e.experiment_id for e in client.search_experiments()]
    assert [m.status for m in client.search_logged_models(experiments)] == ["READY"]


@pytest.mark.parametrize(
    "benchmark", [n for n, b in BENCHMARKS.items() if b.table_form is not None]
)
def test_the_model_loads_and_predicts_as_the_run_does(store: Path, benchmark: str):
    log(store, recorded(store, benchmark))
    model = mlflow.pyfunc.load_model(f"models:/{benchmark}_synthetic_demo_maml/1")
    own = build_personaliser(samples.learned(benchmark, store))
    rows = own.form.example(own.metadata)
    for top in (1, 2):
        found = model.predict(rows, params={"top": top})
        pd.testing.assert_frame_equal(found, personalise(own, rows, top))
    pd.testing.assert_frame_equal(model.predict(rows), personalise(own, rows))
    names = own.form.columns(own.metadata)
    assert set(model.metadata.signature.inputs.input_names()) == set(names)
    assert [p.name for p in model.metadata.signature.params] == ["top"]
    shown = model.input_example
    assert set(shown) == set(names)
    with pytest.raises(MlflowException, match="every row has a label"):
        model.predict(rows[:1])


@pytest.mark.parametrize(
    "benchmark", [n for n, b in BENCHMARKS.items() if b.table_form is not None]
)
def test_every_kind_of_model_answers_over_http(store: Path, benchmark: str):
    """By the application that `mlflow models serve` runs, and a client of JSON."""
    log(store, recorded(store, benchmark))
    model = mlflow.pyfunc.load_model(f"models:/{benchmark}_synthetic_demo_maml/1")
    own = build_personaliser(samples.learned(benchmark, store))
    rows = own.form.example(own.metadata)
    expected = personalise(own, rows, 2).to_dict(orient="records")
    split = json.loads(rows.to_json(orient="split", index=False))
    records = json.loads(rows.to_json(orient="records"))
    with TestClient(scoring_server.init(model)) as client:
        for form in ({"dataframe_records": records}, {"dataframe_split": split}):
            sent = {**form, "params": {"top": 2}}
            answer = client.post("/invocations", json=sent)
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"] == expected
        user, *_ = own.form.columns(own.metadata)
        numbered = [{**record, user: 7} for record in records]
        answer = client.post("/invocations", json={"dataframe_records": numbered})
        assert answer.json()["predictions"][0]["user"] == "7"


def test_it_is_logged_and_registered_once(store: Path):
    record = recorded(store)
    log(store, record)
    record.tags["seen"] = "again"  # as kedro track after a run that was resumed
    log(store, record)
    client = held.client(store)
    run = held.runs(store, record.experiment)["maml"]
    (version,) = client.search_model_versions("name = 'femnist_synthetic_demo_maml'")
    assert version.run_id == run.info.run_id
    (logged,) = client.search_logged_models([run.info.experiment_id])
    assert logged.params == record.parameters
    assert logged.source_run_id == run.info.run_id
    assert "parameters.safetensors" not in held.files(store, run)  # not twice
    assert models.NO_MODEL not in run.data.tags


def test_it_is_logged_wherever_the_command_was_typed(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch
):
    """MLflow's own functions would ask the store of the present folder."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    log(project, recorded(project))
    (version,) = held.client(project).search_model_versions("")
    assert version.status == "READY"
    assert [*elsewhere.iterdir()] == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(project))
    assert mlflow.pyfunc.load_model(f"models:/{version.name}/1")


def test_a_model_of_another_seed_is_the_next_version(store: Path):
    for seed in ("0", "1"):
        record = recorded(store)
        record.folder = record.folder.with_name(f"maml-{seed}")
        log(store, record)
    versions = held.client(store).search_model_versions("")
    assert sorted(int(version.version) for version in versions) == [1, 2]


def test_there_is_no_code_in_it(store: Path):
    log(store, recorded(store))
    (home,) = (store / "mlartifacts").glob("*/models/*/artifacts")
    files = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert files == {
        "MLmodel",
        "artifacts/learned/codebook.safetensors",
        "artifacts/learned/parameters.safetensors",
        "code.py",  # that says who reads them
        "conda.yaml",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }
    needed = (home / "requirements.txt").read_text().splitlines()
    assert not [line for line in needed if line.startswith("fedmeta")]  # no registry's


def test_a_large_codebook_is_not_copied(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models, "COPIED", 100)
    log(store, recorded(store))
    assert not [*(store / "mlartifacts").rglob("codebook.safetensors")]
    model = mlflow.pyfunc.load_model("models:/femnist_synthetic_demo_maml/1")
    own = build_personaliser(samples.learned("femnist", store))
    rows = own.form.example(own.metadata)
    pd.testing.assert_frame_equal(model.predict(rows), personalise(own, rows))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda p: (p / "codebook.safetensors").unlink(), "no such codebook"),
        (
            lambda p: (p / "codebook.safetensors").write_bytes(b"x"),
            "not a whole codebo",
        ),
        (
            lambda p: CodebookDataset(str(p / "codebook.safetensors")).save(
                Codebook({}, "of a later run")
            ),
            "other data (codebook)",
        ),
    ],
)
def test_what_makes_no_model_leaves_its_parameters(store: Path, spoil, why: str):
    record = recorded(store)
    spoil(store)
    log(store, record)
    run = held.runs(store, record.experiment)["maml"]
    assert "parameters.safetensors" in held.files(store, run)
    assert why in run.data.tags[models.NO_MODEL]
    assert run.info.status == FINISHED
    assert held.client(store).search_model_versions("") == []


def test_what_diverged_is_no_model(store: Path):
    record = recorded(store, diverged=Divergence(2, "ann", "update"))
    log(store, record)
    run = held.runs(store, record.experiment)["maml"]
    assert "diverged in round 2" in run.data.tags[models.NO_MODEL]


@pytest.mark.slow
def test_a_run_is_served_over_http(new_project) -> None:
    """`mlflow models serve` of what `kedro run` has registered."""
    folder = new_project()
    (folder / "mlflow.db").unlink(missing_ok=True)
    kedro, mlflow_ = (
        str(Path(sys.executable).with_name(name)) for name in ("kedro", "mlflow")
    )
    run = [kedro, "run", "--pipeline", "femnist_maml", "--env", "smoke"]
    subprocess.run(run, cwd=folder, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    words = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    model = "models:/femnist_synthetic_smoke_maml/1"
    environment = {**os.environ, "PATH": f"{Path(kedro).parent}:{os.environ['PATH']}"}
    server = subprocess.Popen(
        [mlflow_, "models", "serve", "--model-uri", model, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(f"{address}/ping", server)
        rows = BENCHMARKS["femnist"].table_form.example({})
        sent = {"dataframe_records": json.loads(rows.to_json(orient="records"))}
        answer = requests.post(f"{address}/invocations", json=sent, timeout=60)
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["predictions"]
        printed = subprocess.run(
            [kedro, "personalise", "femnist.maml", "--env", "smoke", "--format", "csv"],
            cwd=folder,
            input=rows.to_json(orient="records"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert printed.splitlines()[1] == ",".join(map(str, found.values()))
        sent["dataframe_records"][0]["label"] = "none of them"
        answer = requests.post(f"{address}/invocations", json=sent, timeout=60)
        assert answer.status_code == 400
        assert "row 0: unknown label 'none of them'" in answer.json()["message"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _wait_for(address: str, server: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert server.poll() is None
        try:
            if requests.get(address, timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise AssertionError("the server does not answer")
