"""The study of Table 3: counting methods by hand, and a whole run through Kedro."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import torch
from test_project import run, session

from fedmeta.benchmarks.recommendation.features import encoding
from fedmeta.checkpoints import read_checkpoint
from fedmeta.data.encoding import Codebook
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.options import PartitionOptions
from fedmeta.pipelines.recommendation import unified
from fedmeta.pipelines.recommendation.counting import COUNTING
from fedmeta.pipelines.recommendation.methods import FEDERATED, METHODS
from fedmeta.pipelines.recommendation.users import TestUser, divided
from fedmeta.recommenders.ranking import top_k_hits
from fedmeta.session import TrainingDiverged
from fedmeta.studies.recommendation import parameters

# One block of 3 values and 5 slots; 255 is no value.
CODEBOOK = Codebook({"sizes": torch.tensor([3]), "slots": torch.tensor(5)}, "")
HOME = "smoke/recommendation/p0.2_seed0"


def user(labels, codes, support):
    columns = {
        "label": np.array(labels, dtype=np.int16),
        "codes": np.array(codes, dtype=np.uint8)[:, None],
    }
    rows = np.arange(len(labels))
    return TestUser("ann", columns, rows[:support], rows[support:])


def hits(name, given):
    scores = COUNTING[name](given, CODEBOOK, 5)
    labels = given.columns["label"][given.query]
    return top_k_hits(scores, labels, (1, 4)).tolist()


def test_the_most_frequent_and_of_equal_ones_the_later():
    # support: 0 twice, 1 twice and later, 2 once; 4 never
    given = user([0, 0, 2, 1, 1, 1, 0, 4], [0] * 8, support=5)
    assert hits("mfu", given) == [[True, True], [False, True], [False, False]]


def test_the_most_recent_knows_the_query_before_and_not_the_support_fraction():
    labels = [0, 1, 2, 3, 4, 4, 0]
    # 4 has not been used yet; then it has; 0 is the fifth-last service
    expected = [[False, False], [True, True], [False, False]]
    for support in (1, 4):
        given = user(labels, [0] * 7, support)._replace(query=np.arange(4, 7))
        assert hits("mru", given) == expected


def test_naive_bayes_by_hand():
    # class 0: value 0 twice; class 1: value 1. P(0) P(v=1|0) = 2/3 * 1/6 is less than
    # P(1) P(v=1|1) = 1/3 * 2/5, four values (one of them "none") smoothed by 1
    given = user([0, 0, 1, 1, 0], [0, 0, 1, 1, 0], support=3)
    assert hits("nb", given) == [[True, True], [True, True]]
    scores = COUNTING["nb"](given, CODEBOOK, 5)
    odds = np.exp(scores[0, 1] - scores[0, 0])
    assert odds == pytest.approx((1 / 3 * 2 / 5) / (2 / 3 * 1 / 6))
    assert (scores[:, 2:] == -np.inf).all()


@pytest.mark.parametrize("name", ["mfu", "nb"])
def test_a_support_without_local_services_recommends_nothing(name):
    given = user([-1, -1, 0], [0, 0, 0], support=2)
    assert hits(name, given) == [[False, False]]


def test_services_without_a_number_are_missed():
    given = user([0, -1, 0, -1], [0] * 4, support=2)
    for name in COUNTING:
        assert hits(name, given)[1] == [False, False]


def test_parameters_are_counted_as_in_the_paper():
    assert parameters({"lr": 4_160, "nn": 9_256, "unified": 918_452}) == {
        "lr": 4_160,
        "nn": 9_256,
        "unified": 918_452,
        "maml_lr": 8_320,
        "meta_sgd_lr": 12_480,
        "maml_nn": 18_512,
        "meta_sgd_nn": 27_768,
    }


def options(**changes):
    given = {"clients": (0.5, 0.2, 0.3), "support_fraction": 0.8, "seed": 0}
    return PartitionOptions(**given | {"strategy": "order"} | changes)


def test_what_is_learnt_from_comes_before_what_is_asked():
    clients = pd.DataFrame({"client_id": ["a", "b"], "start": [0, 3], "stop": [10, 9]})
    data = Data(None, clients, {"test": ["b"]}, None, None)
    table = divided(data, options(query_fraction=0.2), 0.5).support_query
    assert table["client_id"].tolist() == ["b"]
    assert table["order"].iloc[0] == [0, 1, 2, 4, 5]
    for changes in ({"query_fraction": None}, {"strategy": "random"}):
        with pytest.raises(ValueError, match="the study needs 'order'"):
            divided(data, options(**{"query_fraction": 0.2} | changes), 0.5)


def test_an_encoding_of_the_codebook_above():
    x, y = encoding(CODEBOOK).examples(user([1, 0], [2, 255], 1).columns, np.arange(2))
    assert x.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert y.tolist() == [1, 0]


@pytest.fixture(scope="module")
def studied(project):
    run(project, "recommendation_fedmeta")
    return project


def test_every_method_is_judged_on_the_same_records(studied):
    output = studied / f"data/07_model_output/{HOME}"
    scores = {name: pd.read_csv(output / f"{name}_scores.csv") for name in METHODS}
    keys = ["client_id", "support_fraction"]
    expected = scores["mfu"].set_index(keys)["num_query"].sort_index()
    assert set(expected.index.get_level_values(1)) == {0.8, 0.05}
    for table in scores.values():
        for _, rows in table.groupby("steps"):
            pd.testing.assert_series_equal(
                rows.set_index(keys)["num_query"].sort_index(), expected
            )
        assert (table["top1"] <= table["top4"]).all()
        assert (table["top4"] <= table["num_query"]).all()
    by_fraction = scores["mru"].groupby("support_fraction")[["top1", "top4"]].sum()
    assert by_fraction.nunique().tolist() == [1, 1]
    assert set(scores["nn"]["steps"]) == {10, 20}


def test_the_report_and_what_it_is_made_of(studied):
    home = studied / f"data/08_reporting/{HOME}"
    table = pd.read_csv(home / "table3.csv")
    assert set(table["id"]) == set(METHODS)
    page = (home / "report.html").read_text()
    assert "synthetic sample, not the paper&#39;s usage log" in page
    assert "learn from the first 20 % of their records" in page
    assert "kedro recommend my_log.csv" in page
    for figure in ("episodes", "steps", "users"):
        assert (home / f"{figure}.png").stat().st_size > 10_000


def test_federated_methods_train_on_whole_episodes_of_one_user(studied):
    for name, method in FEDERATED.items():
        folder = studied / f"data/06_models/{HOME}"
        checkpoint = read_checkpoint(folder / f"{name}.safetensors")
        groups = {"theta", "alpha"} if method.algorithm == "meta_sgd" else {"theta"}
        assert set(checkpoint.state.meta) == groups
        history = checkpoint.history[method.algorithm]
        assert "validation_top4_after" in history
        assert history["round"].tolist() == [0, 2, 4]


def mixed(studied, **options):
    """The checkpoint of the mixed network with these options, and no other node."""
    given = {"recommendation": {"unified": options}}
    with contextlib.chdir(studied), session(studied, **given) as opened:
        opened.run(
            pipeline_name="recommendation_fedmeta",
            node_names=["unified.train_recommendation"],
        )
    return read_checkpoint(studied / f"data/06_models/{HOME}/unified.safetensors")


def test_the_mixed_network_goes_on_where_it_stopped(studied):
    folder = studied / f"data/06_models/{HOME}"

    def trained(steps=8):
        return mixed(studied, steps=steps)

    resumed = trained()
    history = resumed.history["unified"]
    assert history["round"].tolist() == [2, 4, 6, 8]
    for path in folder.glob("unified*"):
        path.unlink()
    unbroken = trained()
    pd.testing.assert_frame_equal(unbroken.history["unified"], history)
    for name, weights in unbroken.state.meta["theta"].items():
        assert torch.equal(weights, resumed.state.meta["theta"][name])
    trained(steps=4)  # as the other tests find it


def test_the_mixed_network_that_diverged_is_not_trained_again(studied, monkeypatch):
    for _ in range(2):
        with pytest.raises(TrainingDiverged, match="unified diverged at round"):
            mixed(studied, learning_rate=1e38)
        monkeypatch.setattr(unified.mixed, "pretrain", lambda *_, **__: iter([]))
    monkeypatch.undo()
    mixed(studied, steps=4)  # as the other tests find it


def test_who_is_lost_to_divergence_is_a_miss_counted_and_said(studied, caplog):
    names = ("lr", "nn")
    wild = {name: {"learning_rate": 1e38} for name in names}
    with contextlib.chdir(studied), session(studied, recommendation=wild) as opened:
        opened.run(
            pipeline_names=["recommendation_fedmeta"],
            from_nodes=[f"{name}.score_recommendation" for name in names],
        )
    page = (studied / f"data/08_reporting/{HOME}/report.html").read_text()
    for name in names:
        output = studied / f"data/07_model_output/{HOME}"
        scores = pd.read_csv(output / f"{name}_scores.csv")
        lost = scores[~np.isfinite(scores["loss_sum"])]
        assert len(lost)
        hits = lost[["top1", "top4"]]
        assert (hits < lost[["num_query"]].to_numpy()).all(axis=None)
        said = f"adaptation diverged in {len(lost)} of {len(scores)} cases"
        assert f"{name}: {said}" in caplog.text
        assert f"{name.upper()}: {said}" in page
