import numpy as np
import pytest
from pytest import approx
from report_samples import found, make_scores

from fedmeta.reporting.fairness import (
    GRID,
    client_accuracies,
    density,
    entropy,
    gini,
    jain,
)
from fedmeta.reporting.tables import fairness_table


@pytest.mark.parametrize(
    ("values", "expected_jain", "expected_gini", "expected_entropy"),
    [
        ([1, 1, 1, 1], 1, 0, np.log(4)),
        ([1, 0, 0, 0], 1 / 4, 3 / 4, 0),
        ([1, 3], 16 / 20, 1 / 4, -0.25 * np.log(0.25) - 0.75 * np.log(0.75)),
        ([0, 0], 1, 0, np.log(2)),  # all wrong is all equal
        ([0.5], 1, 0, 0),
    ],
)
def test_indices_by_hand(values, expected_jain, expected_gini, expected_entropy):
    values = np.array(values, dtype=float)
    assert jain(values) == approx(expected_jain)
    assert gini(values) == approx(expected_gini)
    assert entropy(values) == approx(expected_entropy)


def test_table_by_hand():
    # accuracies after: 0, 0.5, 0.5, 1; before: 0.5, 0.5, 0, 1
    scores = make_scores([2, 2, 2, 2], [1, 1, 0, 2], [0, 1, 1, 2])
    row = fairness_table(found({"FedAvg": scores}, {})).iloc[0]
    assert row["clients"] == 4
    assert (row["mean"], row["variance"]) == (approx(50), approx(1250))
    assert (row["minimum"], row["p25"], row["p50"]) == (0, approx(37.5), 50)
    assert (row["worst_tenth"], row["best_tenth"]) == (0, 100)
    assert row["jain"] == approx(4 / (4 * 1.5))
    assert row["cosine_to_equal"] == approx(2 / (2 * 1.5**0.5))
    assert row["kl_to_uniform"] == approx(np.log(4) - 1.5 * np.log(2))
    shares = ["share_better", "share_unchanged", "share_worse", "share_perfect"]
    assert row[shares].tolist() == [25, 50, 25, 25]


def test_worse_than_baseline_goes_by_client(scores):
    # client a: FedAvg 1 of 1, MAML 0 of 1; client b: 3 of 9 against 9 of 9
    shuffled = scores | {"FedMeta(MAML)": scores["FedMeta(MAML)"].iloc[::-1]}
    table = fairness_table(found(shuffled, {})).set_index("algorithm")
    assert table.loc["FedMeta(MAML)", "share_worse"] == 0
    assert table.loc["FedMeta(MAML)", "share_worse_than_baseline"] == 50


def test_client_without_query_records_has_no_accuracy():
    results = found({"FedAvg": make_scores([0, 2], [0, 1], [0, 1])}, {})
    assert client_accuracies(results).index.tolist() == [(0, "b")]


def test_nobody():
    row = fairness_table(found({"FedAvg": make_scores([], [], [])}, {})).iloc[0]
    assert row["clients"] == 0
    assert np.isnan(row["jain"]) and np.isnan(row["share_worse"])


def test_density_integrates_to_one():
    curve = density(np.array([0.4, 0.5, 0.5, 0.6]))
    assert curve.shape == GRID.shape
    assert np.trapezoid(curve, GRID) == approx(1, abs=1e-3)
    assert GRID[curve.argmax()] == approx(0.5)


def test_density_uses_scotts_bandwidth():
    values = np.array([0.4, 0.6])
    bandwidth = values.std(ddof=1) * 2 ** (-1 / 5)
    expected = np.exp(-0.5 * (0.1 / bandwidth) ** 2) / (bandwidth * np.sqrt(2 * np.pi))
    assert density(values, np.array([0.5]))[0] == approx(expected)


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, 0.5]])
def test_no_density_without_spread(values):
    assert density(np.array(values)) is None
