"""Every study through Kedro, once: what it leaves, what it is tracked as."""

import contextlib
import json
import re

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from test_project import PIPELINES, run, session

from fedmeta.checkpoints import read_checkpoint
from fedmeta.data.federated import read_packed
from fedmeta.identity import environment
from fedmeta.pipelines.studies import label_skew
from fedmeta.pipelines.training import nodes
from fedmeta.studies import STUDIES as OF_PAPERS
from fedmeta.studies import (
    compression,
    nustep,
    perfedavg,
    personalized,
    privacy,
    readings,
)

FOLDER = "p0.2_seed0"


@pytest.fixture(scope="module", params=OF_PAPERS)
def study(request, project):
    """A study, after a whole run of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run(project, request.param)
    return OF_PAPERS[request.param]


def variants(study):
    """(home, name, variant) of all trainings of a study."""
    for experiment in study.experiments:
        for name, variant in experiment.variants.items():
            yield experiment.home, name, variant


def frame(project, home, name, kind):
    output = project / "data/07_model_output/smoke"
    return pd.read_csv(output / home / FOLDER / f"{name}_{kind}.csv")


def checkpoint(project, home, name):
    folder = project / f"data/06_models/smoke/{home}/{FOLDER}"
    return read_checkpoint(folder / f"{name}.safetensors")


def packed(project, dataset):
    name, _, kind = dataset.partition(".")
    return project / f"data/02_intermediate/smoke/{name}/{kind}.arrow"


def test_studies_of_papers():
    homes = [perfedavg.HOME, nustep.HOME, personalized.HOME, readings.HOME]
    assert list(OF_PAPERS) == [*homes, compression.HOME, privacy.HOME]
    trainings = [len(list(variants(study))) for study in OF_PAPERS.values()]
    assert trainings == [8, 12, 11, 14, 8, 5]


def test_a_study_leaves_every_artefact(project, study):
    data = project / "data"
    files = {str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()}
    report = f"08_reporting/smoke/{study.home}/{FOLDER}"
    assert files >= {
        *(f"{report}/{table}.csv" for table in (*study.tables, "claims")),
        *(f"{report}/{figure}.png" for figure in study.figures),
        f"{report}/report.html",
        *(
            f"06_models/smoke/{home}/{FOLDER}/{name}.safetensors"
            for home, name, _ in variants(study)
        ),
    }
    for table in study.tables:
        assert len(pd.read_csv(data / report / f"{table}.csv")) > 0
    assert not [f for f in files if ".partial" in f]


def test_the_page_of_a_study(project, study):
    home = project / f"data/08_reporting/smoke/{study.home}/{FOLDER}"
    page = (home / "report.html").read_text()
    assert f"synthetic sample, not {study.benchmark.label}" in page.replace(
        "&#39;", "'"
    )
    assert len(re.findall(r"<img\b", page)) == len(study.figures)
    for experiment in study.experiments:
        assert experiment.home in page  # its parameters
    claims = pd.read_csv(home / "claims.csv")
    assert len(claims) > 0


def test_the_tidy_tables_of_a_study(project, study):
    home = project / f"data/08_reporting/smoke/{study.home}/{FOLDER}"
    scores, histories = (
        pd.read_parquet(home / f"{name}.parquet") for name in ("results", "histories")
    )
    names = {f"{h}.{name}" for h, name, _ in variants(study)}
    assert set(histories["cell"]) == names
    assert set(scores["cell"]) == (names if study.home != readings.HOME else set())
    own = ["algorithm", "seed", "support_fraction"]
    assert (histories[own].nunique() > 0).all() and set(histories["seed"]) == {0}
    for h, name, variant in variants(study):
        rows = histories[histories["cell"] == f"{h}.{name}"]
        assert (rows[list(variant.factors)] == list(variant.factors.values())).all(None)
        long = scores[scores["cell"] == f"{h}.{name}"]
        if study.home != readings.HOME:
            wide = frame(project, h, name, "scores")
            assert long["accuracy_sum"].sum() == wide["accuracy_sum"].sum()
            assert (long["stage"] == "before").sum() == (wide["epochs"] == 0).sum()


def test_scores_of_every_number_of_epochs(project, study):
    with session(project) as opened:
        parameters = opened.load_context().params
    queries = {}
    for home, name, _ in variants(study) if study.home != readings.HOME else ():
        scores = frame(project, home, name, "scores")
        epochs = parameters[home]["personalisation"].epochs
        assert scores["epochs"].drop_duplicates().tolist() == list(epochs)
        assert (scores["accuracy_sum"] <= scores["num_query"]).all()
        assert scores["loss_sum"].notna().all()
        for _, rows in scores.groupby("epochs"):  # the same records, however trained
            records = dict(zip(rows["client_id"], rows["num_query"], strict=True))
            assert records == queries.setdefault(home, records)


def test_histories(project, study):
    for home, name, _ in variants(study):
        history = frame(project, home, name, "history")
        assert history["round"].tolist() == [0, 2, 4]
        assert history["train_loss"].isna().tolist() == [True, False, False]
        assert ("meta_gradient_norm" in history) == (home == perfedavg.HOME)
    if study.home == perfedavg.HOME:
        norms = {
            name: frame(project, home, name, "history")["meta_gradient_norm"]
            for home, name, _ in variants(study)
        }
        assert all(norm.gt(0).all() for norm in norms.values())
        assert len({norm[0] for norm in norms.values()}) == 1  # the same start
        assert len({norm[2] for norm in norms.values()}) == len(norms)


def test_second_stages_begin_where_the_first_ones_ended(project, study):
    for home, name, variant in variants(study):
        if variant.after is not None:
            first, second = (
                frame(project, home, n, "history") for n in (variant.after, name)
            )
            for column in ("validation_accuracy_before", "validation_loss_before"):
                assert second[column].iloc[0] == first[column].iloc[-1]


def test_a_second_run_of_a_study_trains_nothing(project, study, monkeypatch):
    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(nodes, "run_rounds", never)

    def kept():
        return {
            (home, name): checkpoint(project, home, name).fingerprint
            for home, name, _ in variants(study)
        }

    def dealt():
        users = packed(project, label_skew.SKEWED.records)
        return users.stat().st_mtime_ns if users.exists() else None

    before, users = kept(), dealt()
    names = [node.name for node in PIPELINES[study.home].nodes]
    again = [name for name in names if ".train_" in name]
    assert len(again) == len(before)
    dealing = [name for name in names if ".deal_out_" in name]
    assert bool(dealing) <= (users is not None)
    again += dealing
    with contextlib.chdir(project), session(project) as opened:
        opened.run(pipeline_name=study.home, node_names=again)
    assert kept() == before
    assert dealt() == users


def tracked(project, experiment):
    """Trainings in an MLflow experiment by the name of the variant."""
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    runs = [run for run in runs if "algorithm" in run.data.tags]  # not the report's
    named = {run.data.tags["algorithm"]: run for run in runs}
    assert len(named) == len(runs)
    return named


def test_runs_of_a_study_are_tracked(project, study):
    for experiment in study.experiments:
        runs = tracked(project, f"{experiment.home} (synthetic smoke)")
        assert set(runs) == set(experiment.variants)
        records = read_packed(packed(project, experiment.clients.records))
        for name, tracked_run in runs.items():
            assert tracked_run.info.status == "FINISHED"
            tags, parameters = tracked_run.data.tags, tracked_run.data.params
            assert tags["source"] == "synthetic"
            assert tags["data_checksum"] == records.checksum
            assert tags["support_fraction"] == parameters["partition.support_fraction"]
            assert tags["support_fraction"] == "0.2"
            assert tags["mlflow.runName"] == f"{name} p0.2 s0"
            assert tags["seed"] == "0" and tags["rounds"] == "4"
            kept = checkpoint(project, experiment.home, name)
            assert tags["fingerprint"] == kept.fingerprint
            code = {k: v for k, v in kept.settings.items() if k.startswith("code.")}
            assert json.loads(tags["code"]) == code
            assert tags["torch"] == environment()["torch"]
            blocks = {key.partition(".")[0] for key in parameters}
            assert not blocks & set(experiment.variants)  # its own is "algorithm"
            measured = {key for key in tracked_run.data.metrics if "test/" in key}
            if study.home == readings.HOME:
                assert not measured  # no test client was looked at
                continue
            scores = frame(project, experiment.home, name, "scores")
            once = scores[scores["epochs"] == 1]
            assert tracked_run.data.metrics["test/accuracy_epochs1"] == pytest.approx(
                once["accuracy_sum"].sum() / once["num_query"].sum()
            )


def test_tracked_options_are_those_of_the_variant(project, study):
    runs = {
        name: tracked_run.data.params
        for experiment in study.experiments
        for name, tracked_run in tracked(
            project, f"{experiment.home} (synthetic smoke)"
        ).items()
    }
    if study.home == perfedavg.HOME:
        assert runs["hf_tau10"]["algorithm.local_steps"] == "10"
        assert runs["hf_tau10"]["algorithm.hessians.difference"] == "0.001"
        assert runs["fo_tau4"]["algorithm.hessians.last"] == "0"
        assert runs["fedavg_tau4"]["algorithm.steps"] == "4"
        assert runs["fo_tau4"]["training.probe.inner_lr"] == "0.01"
    if study.home == nustep.HOME:
        assert {n: p["algorithm.steps"] for n, p in runs.items()} == {
            name: str(variant.factors["nu_train"])
            for name, variant in nustep.VARIANTS.items()
        }
        assert runs["nu5_fo"]["algorithm.hessians.last"] == "0"
        assert runs["nu5_hf"]["algorithm.hessians.difference"] == "0.001"
    if study.home == personalized.HOME:
        assert runs["e5"]["algorithm.epochs"] == "5"
        second = runs["e5_reptile"]
        assert second["algorithm.server.name"] == "adam"
        assert second["second_stage.rounds"] == "4"
        # those of the stage before it are not its own
        assert "algorithm.epochs" not in second
        assert not [key for key in second if key.startswith("algorithm.fine_tuning")]


def test_recipes_are_tried_on_validation_clients(project, study):
    if study.home != readings.HOME:
        return
    report = project / f"data/08_reporting/smoke/{study.home}/{FOLDER}"
    tried = pd.read_csv(report / "fine_tuning.csv")
    curve = frame(project, study.home, "fedavg", "history").iloc[-1]
    # its own recipe, by which its curve was made as well, comes first
    for epochs, when in ((0, "before"), (1, "after")):
        row = tried[tried["epochs"] == epochs].iloc[0]
        own = 100 * curve[f"validation_accuracy_{when}"]
        assert row["accuracy"] == pytest.approx(own)
