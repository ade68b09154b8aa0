import pandas as pd
import pytest
from pytest import approx
from recommendation_report_samples import (
    SIZES,
    make_scores,
    only,
    paper_scores,
    results,
)

from fedmeta.pipelines.recommendation.methods import PAPER
from fedmeta.reporting.recommendation import (
    accuracies,
    of_users,
    support_fractions,
    tabulate,
    user_accuracies,
)
from fedmeta.studies.recommendation import BENCHMARK, report_on

OWN = BENCHMARK.label  # only beside its own data the paper's numbers are shown


def table3(scores, *names):
    return tabulate(results(scores, methods=only(*names)), SIZES, accuracies)


def users_table(scores, *names):
    return tabulate(results(scores, methods=only(*names)), SIZES, of_users)


def beside_paper(scores, *names):
    found = results(scores, methods=only(*names or scores), source=OWN)
    return report_on(found, SIZES).tables["table3"]


def row_of(table, label, steps=0):
    return table[(table["method"] == label) & (table["steps"] == steps)].iloc[0]


class TestTable3:
    def test_accuracy_is_over_records_not_users(self):
        # 1 of 1 and 3 of 9 are 4 of 10, where the mean over users would be 2 / 3
        scores = {"mfu": make_scores([1, 3], [1, 7], [1, 9])}
        row = table3(scores, "mfu").iloc[0]
        assert (row["top1_80"], row["top4_80"]) == (approx(40), approx(80))
        assert (row["kind"], row["steps"], row["source"]) == ("alone", 0, "sample")
        assert pd.isna(row["parameters"])

    def test_a_column_for_every_support_largest_first(self):
        parts = [make_scores([1], [2], 4, p) for p in (0.05, 0.8, 0.125)]
        scores = {"mfu": pd.concat(parts)}
        assert support_fractions(results(scores)) == [0.8, 0.125, 0.05]
        table = table3(scores, "mfu")
        expected = ["top1_80", "top4_80", "top1_12.5", "top4_12.5", "top1_5", "top4_5"]
        assert list(table.columns[-6:]) == expected

    def test_curve_is_shown_at_the_papers_steps_and_its_end(self):
        steps = [20, 100, 500, 1_000, 5_000]
        parts = [make_scores([i], [4], 10, steps=s) for i, s in enumerate(steps)]
        table = table3({"nn": pd.concat(parts[::-1])}, "nn")
        assert table["steps"].tolist() == [100, 1_000, 5_000]
        assert table["top1_80"].tolist() == approx([10, 30, 40])
        assert table["parameters"].tolist() == [9_256] * 3

    def test_the_papers_accuracies_stand_beside(self):
        table = beside_paper(paper_scores())
        assert len(table) == len(PAPER) == 12
        for name in ("top1_80", "top4_80", "top1_5", "top4_5"):
            assert table[name].tolist() == approx(table[f"paper_{name}"].tolist())
        assert row_of(table, "NN", 10_000)["paper_top1_5"] == 68.87
        without = report_on(results(paper_scores()), SIZES).tables["table3"]
        assert not any(name.startswith("paper") for name in without)

    @pytest.mark.parametrize(("steps", "expected"), [(100, 57.20), (1_000, None)])
    def test_paper_is_missing_where_it_says_nothing(self, steps, expected):
        scores = {"nn": make_scores([1], [2], steps=steps)}
        value = beside_paper(scores)["paper_top1_80"].iloc[0]
        assert value == expected if expected else pd.isna(value)

    def test_paper_without_steps_stands_beside_any(self):
        table = beside_paper({"unified": make_scores([1], [2], steps=50)})
        assert table["paper_top4_80"].tolist() == [89.13]

    def test_what_was_not_measured_is_missing(self):
        scores = {"mfu": make_scores([1], [2]), "nn": make_scores([1], [2], 4, 0.05, 9)}
        table = table3(scores, "mfu", "mru", "nn")
        assert table["method"].tolist() == ["MFU", "MRU", "NN"]
        assert table["steps"].isna().tolist() == [False, True, False]
        assert table["top1_80"].isna().tolist() == [False, True, True]
        assert table["top1_5"].isna().tolist() == [True, True, False]

    def test_nothing_at_all(self):
        table = beside_paper({}, "mfu")
        assert table["method"].tolist() == ["MFU"]
        none = beside_paper({"mfu": make_scores([], [])})
        assert none["method"].tolist() == ["MFU"]


class TestUsers:
    def test_every_user_counts_the_same(self):
        # Top-1 of 1, 0.5 and 0: 1 user in 10 is below 0.1, a fifth of the way to 0.5
        scores = {"mfu": make_scores([1, 2, 0], [1, 4, 5], [1, 4, 10])}
        row = users_table(scores, "mfu").iloc[0]
        assert (row["users_80"], row["mean_top1_80"]) == (3, approx(50))
        assert row["mean_top4_80"] == approx(250 / 3)
        assert row["p10_top1_80"] == approx(10)
        assert pd.isna(row["beats_mru_80"])  # there is no MRU

    def test_mru_is_beaten_user_by_user(self):
        mru = make_scores([5, 5, 5, 5], [9] * 4, 10)
        nn = make_scores([9, 5, 4, 6], [9] * 4, 10, steps=100)  # a tie beats nothing
        scores = {"mru": mru, "nn": nn.iloc[::-1]}
        table = users_table(scores, "mru", "nn")
        assert row_of(table, "NN", 100)["beats_mru_80"] == 50
        assert row_of(table, "MRU")["beats_mru_80"] == 0

    def test_mru_is_that_of_the_same_support(self):
        mru = [make_scores([5], [9], 10), make_scores([1], [9], 10, 0.05)]
        nn = [make_scores([3], [9], 10, p, 100) for p in (0.8, 0.05)]
        scores = {"mru": pd.concat(mru), "nn": pd.concat(nn)}
        row = row_of(users_table(scores, "mru", "nn"), "NN", 100)
        assert (row["beats_mru_80"], row["beats_mru_5"]) == (0, 100)

    def test_only_users_that_both_have_are_compared(self):
        scores = {
            "mru": make_scores([5], [9], 10),
            "nn": make_scores([9, 0], [9, 9], 10, steps=100),
        }
        table = users_table(scores, "mru", "nn")
        assert row_of(table, "NN", 100)["beats_mru_80"] == 100

    def test_user_without_query_records_has_no_accuracy(self):
        assert list(user_accuracies(make_scores([0, 1], [0, 1], [0, 2])).index) == ["b"]
