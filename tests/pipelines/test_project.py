"""The registered pipelines, and a run of the smallest through Kedro."""

import contextlib
import graphlib
import re
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.checkpoints import read_checkpoint
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.pipeline_registry import COMPARED, RIVALS, register_pipelines
from fedmeta.pipelines.ingestion.nodes import DRAWN
from fedmeta.pipelines.reporting import source_words
from fedmeta.pipelines.training import nodes
from fedmeta.session import RENAMED, TrainingDiverged, registered
from fedmeta.studies import STUDIES, TUNINGS

PIPELINES = register_pipelines()
OTHERS = ["recommendation_fedmeta", *TUNINGS]
# benchmarks whose main pipeline makes the paper's comparison
COMPARING = [name for name in BENCHMARKS if f"{name}_fedmeta" not in OTHERS]
TRAINED = [name for name in COMPARED if ALGORITHMS[name].trained_as is None]


def session(project, env="smoke", **params):
    bootstrap_project(project)
    return KedroSession.create(project, env=env, runtime_params=params)


def run(project, pipeline, env="smoke", **params):
    # Folders of raw files are relative to where a run is started.
    with contextlib.chdir(project), session(project, env, **params) as opened:
        return opened.run(pipeline_name=pipeline)


@pytest.fixture(scope="session")
def finished(project):
    """The project after a whole run."""
    run(project, "femnist_fedmeta")
    return project


@pytest.fixture(scope="session", params=COMPARING)
def benchmark(request, project):
    """A benchmark, after a whole run of it."""
    if request.param == "femnist":
        request.getfixturevalue("finished")
    else:
        run(project, f"{request.param}_fedmeta")
    return request.param


def test_nodes_have_tags_to_filter_by():
    """Benchmark or study, algorithm, and stage."""
    main = PIPELINES["femnist_fedmeta"]
    assert {node.name for node in main.only_nodes_with_tags("maml").nodes} == {
        "maml.train_femnist",
        "maml.evaluate_femnist",
    }
    assert len(main.only_nodes_with_tags("training").nodes) == len(TRAINED)
    stages = {"ingestion", "preparation", "training", "evaluation", "studies"}
    for name, pipeline in PIPELINES.items():
        for node in pipeline.nodes:
            assert node.tags & {*stages, "recommendation"}, (name, node.name)
            assert node.outputs[0].partition(".")[0] in node.tags


@pytest.mark.parametrize("old", RENAMED)
def test_the_old_name_of_a_pipeline_is_refused_with_the_new_one(old):
    assert RENAMED[old] in PIPELINES and old not in PIPELINES
    with pytest.raises(ValueError, match=f"{old} is called {RENAMED[old]} now"):
        registered(old)


def test_every_pipeline_has_layers(project):
    """Kedro-Viz shows none where one of them comes both before and after another."""
    catalog = session(project).load_context().catalog

    def layer(name):
        marks = getattr(catalog.get(name), "metadata", None) or {}
        return marks.get("kedro-viz", {}).get("layer")

    for name, pipeline in PIPELINES.items():
        before = {}  # layer -> those that it is made from
        for node in pipeline.nodes:
            for made in filter(None, map(layer, node.outputs)):
                given = {layer(n) for n in node.inputs if "params:" not in n}
                before.setdefault(made, set()).update(given - {made, None})
        assert "reporting" in before, name
        graphlib.TopologicalSorter(before).prepare()  # refuses circles


def test_what_is_registered():
    runs = {
        f"{benchmark}_{name}"
        for benchmark in BENCHMARKS
        for name in (*ALGORITHMS, "data", "fedmeta")
    }
    runs |= {f"{benchmark}_rivals" for benchmark in COMPARING}
    assert set(PIPELINES) == {*runs, *STUDIES, *OTHERS, "__default__"}
    assert PIPELINES["__default__"] == PIPELINES["femnist_fedmeta"]
    for benchmark in COMPARING:
        everything = set(PIPELINES[f"{benchmark}_fedmeta"].nodes)
        for name in (*COMPARED, "data"):
            assert set(PIPELINES[f"{benchmark}_{name}"].nodes) <= everything
        namespaces = {node.namespace for node in everything}
        assert not namespaces & (set(ALGORITHMS) - set(COMPARED))
        more = {node.namespace for node in PIPELINES[f"{benchmark}_rivals"].nodes}
        assert more >= {*COMPARED, *RIVALS}


def test_a_second_stage_comes_with_the_first_one():
    trained = {
        node.name: node
        for node in PIPELINES["femnist_fedavgm_reptile"].nodes
        if node.name.endswith("train_femnist")
    }
    assert set(trained) == {"fedavgm.train_femnist", "fedavgm_reptile.train_femnist"}
    second = trained["fedavgm_reptile.train_femnist"].inputs
    assert "femnist.fedavgm.checkpoint" in second
    assert {"params:femnist.reptile", "params:femnist.fedavgm_reptile"} < set(second)
    assert "params:femnist.fedavg" not in second


def test_pipelines_of_all_benchmarks_can_be_joined():
    parts = [PIPELINES[f"{benchmark}_fedmeta"] for benchmark in BENCHMARKS]
    together = sum(parts[1:], parts[0])
    assert len(together.nodes) == sum(len(part.nodes) for part in parts)


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_take_parameters_and_checkpoints_alone(name):
    """Everything else that a node reads is made by another node before it."""
    free = PIPELINES[name].inputs()
    others = {n for n in free if not n.startswith("params:")}
    assert all(n.endswith(".earlier_checkpoints") for n in others)
    assert bool(others) != name.endswith("_data")


@pytest.mark.parametrize(
    "env", ["base", "smoke", "paper", "tuned", "reduced", "larger_steps"]
)
def test_every_dataset_and_parameter_is_in_the_configuration(project, env):
    with session(project, env) as opened:
        catalog = opened.load_context().catalog
        resolver = catalog.config_resolver
        for pipeline in PIPELINES.values():
            for name in pipeline.datasets():
                if name.startswith("params:"):
                    assert name in catalog, name
                else:
                    assert resolver.match_dataset_pattern(name), name


def test_a_whole_run_leaves_every_artefact(project, benchmark):
    data = project / "data"
    files = {str(p.relative_to(data)) for p in data.rglob("*") if p.is_file()}
    home = f"smoke/{benchmark}/p0.2_seed0"
    expected = {
        f"02_intermediate/smoke/{benchmark}/records.arrow",
        f"03_primary/smoke/{benchmark}/clients.parquet",
        f"04_feature/smoke/{benchmark}/codebook.safetensors",
        f"03_primary/{home}/support_query.parquet",
        *(f"06_models/{home}/{name}.safetensors" for name in TRAINED),
        *(
            f"07_model_output/{home}/{name}_{kind}.csv"
            for name in COMPARED
            for kind in ("history", "scores")
        ),
        *(
            f"07_model_output/{home}/{name}_validation_scores.parquet"
            for name in COMPARED
        ),
        f"08_reporting/{home}/accuracy.csv",
        f"08_reporting/{home}/report.html",
    }
    assert expected <= files
    files = {f for f in files if Path(f).name != DRAWN}
    litter = [f for f in files if ".partial" in f or Path(f).name.startswith(".")]
    assert litter == []


def test_results_of_a_run(project, benchmark):
    output = project / f"data/07_model_output/smoke/{benchmark}/p0.2_seed0"
    for name in COMPARED:
        history = pd.read_csv(output / f"{name}_history.csv")
        assert history["round"].tolist() == [0, 2, 4]
        agree = history["flops_counted"] / history["flops"].where(history["flops"] > 0)
        # 2 % for the networks that results are made with (tests/core/test_cost.py); in
        # this one the first layer, of which torch counts a product more, weighs more.
        assert agree.dropna().sub(1).abs().max() < 0.05
    scores = {n: pd.read_csv(output / f"{n}_scores.csv") for n in COMPARED}
    for table in scores.values():
        assert table["client_id"].tolist() == scores["maml"]["client_id"].tolist()
        assert (table["num_query"] == scores["maml"]["num_query"]).all()
        assert (table["accuracy_sum_after"] <= table["num_query"]).all()
    plain, tuned = scores["fedavg"], scores["fedavg_meta"]
    assert (plain["accuracy_sum_before"] == plain["accuracy_sum_after"]).all()
    assert (plain["loss_sum_before"] == tuned["loss_sum_before"]).all()
    assert (tuned["loss_sum_before"] != tuned["loss_sum_after"]).all()


def test_the_report_says_that_data_are_synthetic(project, benchmark):
    page = project / f"data/08_reporting/smoke/{benchmark}/p0.2_seed0/report.html"
    source = source_words(BENCHMARKS[benchmark], "synthetic sample")
    assert f"Data: {source}" in page.read_text()


def test_one_training_diverges_and_everything_else_is_finished(finished, monkeypatch):
    wild = {"inner_lr": 1e20, "server": {"lr": 1e20}}
    everything = {"seed": 9, "femnist": {"maml": wild}}
    for _ in range(2):
        with pytest.raises(TrainingDiverged, match=r"femnist.maml diverged at round 1"):
            run(finished, "femnist_fedmeta", **everything)
        home = finished / "data/07_model_output/smoke/femnist/p0.2_seed9"
        rows = {n: len(pd.read_csv(home / f"{n}_scores.csv")) for n in COMPARED}
        assert rows.pop("maml") == 0 and set(rows.values()) == {2}
        report = finished / "data/08_reporting/smoke/femnist/p0.2_seed9"
        assert (
            "FedMeta(MAML) diverged at round 1." in (report / "report.html").read_text()
        )
        accuracy = pd.read_csv(report / "accuracy.csv").set_index("algorithm")
        assert accuracy["training"].dropna().to_dict() == {
            "FedMeta(MAML)": "diverged at round 1"
        }
        assert accuracy["micro_after"].isna().sum() == 1
        assert checkpoint(finished, "maml", seed=9).diverged.round == 1

        def never(*args):
            raise AssertionError("trained again")

        monkeypatch.setattr(nodes, "run_rounds", never)


def checkpoint(project, name, seed=0):
    folder = project / f"data/06_models/smoke/femnist/p0.2_seed{seed}"
    return read_checkpoint(folder / f"{name}.safetensors")


def test_ctrl_c_keeps_what_was_evaluated_and_resumes(finished, monkeypatch):
    genuine = nodes.run_rounds

    def interrupted(*args):
        for number, state, metrics in genuine(*args):
            if number == 3:
                raise KeyboardInterrupt
            yield number, state, metrics

    monkeypatch.setattr(nodes, "run_rounds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(finished, "femnist_meta_sgd", seed=1)
    stopped = checkpoint(finished, "meta_sgd", seed=1)
    assert stopped.state.round == 2
    output = finished / "data/07_model_output/smoke/femnist/p0.2_seed1"
    history = pd.read_csv(output / "meta_sgd_history.csv")
    assert history["round"].tolist() == [0, 2]
    hidden = finished.joinpath("data").rglob(".*")
    assert {path.name for path in hidden} == {DRAWN}

    starts = []

    def watched(algorithm, state, *rest):
        starts.append(state.round)
        return genuine(algorithm, state, *rest)

    monkeypatch.setattr(nodes, "run_rounds", watched)
    run(finished, "femnist_meta_sgd", seed=1)
    assert starts == [2]
    assert checkpoint(finished, "meta_sgd", seed=1).state.round == 4


def test_a_second_run_neither_packs_nor_trains(finished, monkeypatch):
    records = finished / "data/02_intermediate/smoke/femnist/records.arrow"
    written = records.stat().st_mtime_ns

    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(nodes, "run_rounds", never)
    before = checkpoint(finished, "maml")
    run(finished, "femnist_maml")
    assert records.stat().st_mtime_ns == written
    assert checkpoint(finished, "maml").fingerprint == before.fingerprint


def test_options_had_from_another_block_can_be_given_on_the_command_line(finished):
    run(finished, "femnist_fedprox", femnist={"fedprox": {"epochs": 2}})
    output = finished / "data/07_model_output/smoke/femnist/p0.2_seed0"
    once, twice = (
        pd.read_csv(output / f"{name}_history.csv") for name in ("fedavg", "fedprox")
    )
    # All else of fedavg's block is as it is there.
    assert (twice["flops"] == 2 * once["flops"]).all()
    assert (twice["bytes_up"] == once["bytes_up"]).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"femnist": {"training": {"rounds": 0}}}, "rounds.*more than 0"),
        (
            {"femnist": {"training": {"clients_per_round": 99}}},
            "clients_per_round is 99",
        ),
        ({"support_fraction": 1.5}, "support_fraction.*less than 1"),
        ({"femnist": {"maml": {"weights": "by_size"}}}, "unknown weights 'by_size'"),
        (
            {"femnist": {"maml": {"server": {"name": "adamw"}}}},
            "one of sgd, momentum, adam",
        ),
        ({"femnist": {"training": {"backend": "vmap"}}}, "backend.*vmap"),
        ({"femnist": {"maml": {"inner_rate": 1}}}, "inner_rate"),
        ({"femnist": {"fedprox": {"epoch": 1}}}, "did you mean femnist.fedprox.epochs"),
    ],
)
def test_wrong_parameters_stop_a_run(finished, params, message, monkeypatch):
    def never(*args):
        raise AssertionError("trained")

    monkeypatch.setattr(nodes, "run_rounds", never)
    with pytest.raises(Exception, match="(?s)" + message) as error:
        run(finished, "femnist_maml", **params)
    assert not isinstance(error.value, AssertionError)


def test_checking_parameters_leaves_the_resolvers_alone(project):
    """`${runtime_params:seed}` and `${globals:store}` are still this run's."""
    with session(project, "smoke", seed=7) as opened:
        catalog = opened.load_context().catalog
        path = str(catalog.get("femnist.maml.history")._filepath)
    assert "/smoke/" in path
    assert "seed7" in path


REPORT = [n.name for n in PIPELINES["femnist_fedmeta"].nodes if "report." in n.name]


def report(project, nodes, **params):
    """The report alone, from what lies there."""
    with contextlib.chdir(project), session(project, "smoke", **params) as opened:
        opened.run(pipeline_name="femnist_fedmeta", node_names=nodes)


def test_results_of_other_settings_are_not_set_side_by_side(finished):
    """Tidy tables and page refuse them; `finished` is left as it was."""
    run(finished, "femnist_maml", femnist={"training": {"rounds": 2}})
    assert len(REPORT) == 2
    for name in REPORT:
        with pytest.raises(
            Exception, match=r"training\.rounds=2 instead of 4"
        ) as error:
            report(finished, [name])
        assert re.search(r"maml\w*( scores)? was made with", str(error.value))
    run(finished, "femnist_maml")
    output = finished / "data/07_model_output/smoke/femnist/p0.2_seed0"
    assert pd.read_csv(output / "maml_history.csv")["round"].tolist() == [0, 2, 4]


def test_a_page_prints_what_its_results_were_made_with(finished):
    page = finished / "data/08_reporting/smoke/femnist/p0.2_seed0/report.html"
    before = page.read_text()
    run(finished, "femnist_maml", femnist={"maml": {"inner_lr": 0.5}})
    # not with other results, nor under this run's own parameters
    for name in REPORT:
        with pytest.raises(Exception, match=r"made with maml\.inner_lr=0\.5 instead"):
            report(finished, [name])
    report(finished, REPORT, femnist={"maml": {"inner_lr": 0.5}})
    shown = page.read_text()
    assert "<dt>femnist.maml.inner_lr</dt><dd><code>0.05</code>" in before
    assert "<dt>femnist.maml.inner_lr</dt><dd><code>0.5</code>" in shown
    for line in ("training.rounds</dt><dd><code>4", "selection.min_records</dt>"):
        assert line in before
        assert line in shown
    run(finished, "femnist_maml")
