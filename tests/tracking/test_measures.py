"""What MLflow is told, by hand."""

import math

import pandas as pd
import pytest

from fedmeta.tracking.measures import (
    Point,
    curve_points,
    experiment_name,
    final_metrics,
    metric_name,
    not_finite,
    run_name,
    run_parameters,
)

WHEN = ("before", "after")


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("train_loss", "train/loss"),
        ("validation_macro_accuracy_before", "validation/macro_accuracy_before"),
        ("bytes_down", "cost/bytes_down"),
        ("flops", "cost/flops"),
    ],
)
def test_sections(column: str, name: str) -> None:
    assert metric_name(column) == name


def test_only_finite_numbers() -> None:
    history = pd.DataFrame(
        {
            "round": [0, 5, 10, 15],
            "train_loss": [math.nan, 2.0, 1.0, math.inf],
            "flops": [0, 3, 6, -math.inf],
        }
    )
    assert list(curve_points(history)) == [
        Point("cost/flops", 0.0, 0),
        Point("train/loss", 2.0, 5),
        Point("cost/flops", 3.0, 5),
        Point("train/loss", 1.0, 10),
        Point("cost/flops", 6.0, 10),
    ]


def test_equal_options_of_two_algorithms_meet_in_one_column() -> None:
    blocks = {"model": {"hidden": 8}, "a": {"lr": 1}, "b": {"lr": 2}}
    assert run_parameters(blocks, ["a"], {"b"})["algorithm.lr"] == "1"
    assert run_parameters(blocks, ["b"], {"a"}) == {
        "algorithm.lr": "2",
        "model.hidden": "8",
    }


def test_names() -> None:
    named = {"store": "sample", "support_fraction": 0.2, "seed": 0}
    assert run_name("fedavg_meta", named) == "fedavg_meta p0.2 s0"
    assert len(run_name("fedavg_meta", named)) <= 20
    assert (
        experiment_name("femnist", "synthetic sample") == "femnist (synthetic sample)"
    )
    assert experiment_name("femnist", "") == "femnist"


def test_scores_of_several_supports_and_steps() -> None:
    scores = pd.DataFrame(
        [("a", 0.8, 10, 4, 1, 2), ("b", 0.8, 10, 6, 4, 6), ("a", 0.05, 10, 4, 0, 1)]
        + [("a", 0.8, 5, 4, 1, 1)],
        columns=["client_id", "support_fraction", "steps", "num_query", "top1", "top4"],
    )
    assert final_metrics(scores) == pytest.approx(
        {
            "test/top1_p80": 0.5,
            "test/top4_p80": 0.8,
            "test/top1_p5": 0.0,
            "test/top4_p5": 0.25,
            "test/top1_p80_steps5": 0.25,
            "test/top4_p80_steps5": 0.25,
        }
    )


def test_scores_of_several_epochs() -> None:
    scores = pd.DataFrame(
        [("a", 0, 4, 1, 8.0), ("b", 0, 6, 4, 2.0), ("a", 5, 4, 4, 1.0)]
        + [("b", 5, 6, 5, 1.5)],
        columns=["client_id", "epochs", "num_query", "accuracy_sum", "loss_sum"],
    )
    assert final_metrics(scores) == pytest.approx(
        {
            "test/accuracy_epochs0": 0.5,
            "test/macro_accuracy_epochs0": (1 / 4 + 4 / 6) / 2,
            "test/loss_epochs0": 1.0,
            "test/macro_loss_epochs0": (8 / 4 + 2 / 6) / 2,
            "test/accuracy_epochs5": 0.9,
            "test/macro_accuracy_epochs5": (1 + 5 / 6) / 2,
            "test/loss_epochs5": 0.25,
            "test/macro_loss_epochs5": 0.25,
        }
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_test_client_that_diverged_is_in_the_loss(bad: float) -> None:
    clients = {"client_id": ["a", "b"], "num_query": 10}
    numbers = {
        f"{n}_{w}": [5.0, 5.0] for n in ("accuracy_sum", "loss_sum") for w in WHEN
    }
    scores = pd.DataFrame({**clients, **numbers, "loss_sum_after": [10.0, bad]})
    found = final_metrics(scores)
    assert found["test/loss_before"] == 0.5
    assert not math.isfinite(found["test/loss_after"])
    by_epochs = scores.rename(columns=lambda c: c.removesuffix("_after"))
    found = final_metrics(by_epochs.assign(epochs=1))
    assert not math.isfinite(found["test/loss_epochs1"])
    assert final_metrics(scores[:0]) == {}


def test_what_is_not_finite_is_named() -> None:
    history = pd.DataFrame(
        {
            "round": [0, 5, 10],
            "train_loss": [math.nan, 2.0, 1.0],  # no training before the first round
            "validation_loss_after": [4.0, math.inf, math.nan],
            "meta_gradient_norm": [math.nan, 1.0, 1.0],
            "flops": [0, 3, 6],
        }
    )
    assert not_finite(history, None) == (
        "validation/loss_after from round 5, train/meta_gradient_norm from round 0"
    )
    assert not_finite(history[["round", "train_loss", "flops"]], None) == ""
    clients = {"client_id": ["a", "b"], "num_query": 10}
    sums = {f"{n}_sum_{w}": [5.0, 5.0] for n in ("accuracy", "loss") for w in WHEN}
    scores = pd.DataFrame({**clients, **sums, "loss_sum_after": [10.0, math.inf]})
    assert not_finite(None, scores) == "test/loss_after, test/macro_loss_after"
