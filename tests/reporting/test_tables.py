import pandas as pd
import pytest
from pytest import approx
from report_samples import found, make_report, make_targets

from fedmeta.reporting.measures import first_reaching
from fedmeta.reporting.shown import shown
from fedmeta.reporting.tables import accuracy_table, overhead_table
from fedmeta.reporting.wording import headline_columns


def by_algorithm(table):
    return table.set_index("algorithm")


class TestAccuracyTable:
    def test_micro_counts_records_and_macro_counts_clients(self, scores, histories):
        table = by_algorithm(accuracy_table(found(scores, histories)))
        # 1 of 1 and 3 of 9: micro 4 / 10, macro (1 + 1/3) / 2
        assert table.loc["FedAvg", "micro_after"] == approx(40)
        assert table.loc["FedAvg", "macro_after"] == approx(200 / 3)
        # 0 of 1 and 9 of 9
        assert table.loc["FedMeta(MAML)", "micro_after"] == approx(90)
        assert table.loc["FedMeta(MAML)", "macro_after"] == approx(50)
        assert table.loc["FedMeta(MAML)", "micro_before"] == 0
        assert table.loc["FedMeta(MAML)", "loss_after"] == approx(0.1)

    def test_paper_and_gain_in_points(self, scores, histories):
        paper = {"FedMeta(MAML)": 88.5}
        table = by_algorithm(accuracy_table(found(scores, histories), paper))
        assert table.loc["FedMeta(MAML)", "difference"] == approx(1.5)
        assert pd.isna(table.loc["FedAvg", "paper"])
        assert pd.isna(table.loc["FedAvg", "difference"])
        assert table["gain"].tolist() == approx([0, 50, 30])

    def test_costs_are_those_of_the_last_row(self, scores, histories):
        row = by_algorithm(accuracy_table(found(scores, histories))).loc["FedAvg"]
        assert (row["rounds"], row["client_rounds"]) == (30, 120)
        assert (row["bytes_down"], row["bytes_up"]) == (300_000_000, 300_000_000)
        assert (row["flops"], row["flops_counted"]) == (30_000, approx(30_300))
        assert row["best_validation_round"] == 30
        assert row["best_validation_accuracy"] == approx(60)

    def test_epsilon_is_that_of_the_last_row(self, scores, histories):
        spent = histories["FedAvg"].assign(epsilon=[0, 1, 2, 3.5], delta=1e-4)
        table = accuracy_table(found(scores, {**histories, "FedAvg": spent}))
        row = by_algorithm(table).loc["FedAvg"]
        assert (row["epsilon"], row["delta"]) == (3.5, 1e-4)
        assert "epsilon" in headline_columns(table)
        assert "epsilon" not in accuracy_table(found(scores, histories))

    def test_source_is_in_every_row_and_order_is_kept(self, scores, histories):
        table = accuracy_table(found(scores, histories))
        assert set(table["source"]) == {"sample"}
        assert table["algorithm"].tolist() == list(scores)

    def test_without_the_baseline_there_is_no_gain(self, scores, histories):
        one = {"FedMeta(MAML)": scores["FedMeta(MAML)"]}
        assert accuracy_table(found(one, histories))["gain"].isna().all()

    def test_no_gain_over_other_clients(self, scores, histories):
        """As where a node of a federation has not answered."""
        scores["FedMeta(MAML)"] = scores["FedMeta(MAML)"].iloc[1:]
        table = by_algorithm(accuracy_table(found(scores, histories)))
        assert pd.isna(table.loc["FedMeta(MAML)", "gain"])
        assert table["gain"].notna().sum() == 2
        first, *_ = make_report(histories, scores).sections
        title, text = first.warning
        assert title == "Not the same test clients"
        assert "FedAvg on 2, FedMeta(MAML) on 1, " in text

    def test_nothing_trained_and_nobody_tested(self, scores, empty_history):
        nobody = {"FedAvg": scores["FedAvg"].iloc[:0]}
        histories = {"FedAvg": empty_history}
        row = accuracy_table(found(nobody, histories)).iloc[0]
        assert row["test_clients"] == 0
        assert pd.isna(row["micro_after"]) and pd.isna(row["rounds"])

    def test_accuracies_have_an_interval_over_clients(self, scores, histories):
        table = by_algorithm(accuracy_table(found(scores, histories)))
        row = table.loc["FedAvg"]
        # clients of 1 of 1 and 3 of 9, one of four resamples has the first alone
        assert (row["micro_after_low"], row["micro_after_high"]) == approx(
            (100 / 3, 100)
        )
        assert (row["macro_after_low"], row["macro_after_high"]) == approx(
            (100 / 3, 100)
        )
        assert row["micro_before_low"] == row["micro_after_low"]


class TestTargetsTable:
    def test_costs_are_those_of_the_first_evaluation_that_reaches_it(self, histories):
        """As in the table of overhead, of whose target it is a row."""
        targets = make_targets(histories)
        overhead = by_algorithm(overhead_table(found({}, histories), 0.5))
        at_50 = by_algorithm(targets[targets["target"] == 50])
        for column in ("rounds", "bytes_total", "flops"):
            pd.testing.assert_series_equal(at_50[column], overhead[column])
        # up to the best of all, in steps of a point
        assert targets["target"].unique().tolist() == list(range(50, 81))
        lost = targets[targets["algorithm"] == "FedMeta(Meta-SGD)"]
        assert lost.filter(regex="rounds|bytes|flops").isna().all(axis=None)

    def test_ends_of_the_interval_are_of_better_and_worse_clients(self, histories):
        """The better client alone is a point of ten above, the worse one below."""
        targets = make_targets(histories)
        row = by_algorithm(targets[targets["target"] == 50]).loc["FedAvg"]
        # both 0.0, 0.3, 0.5, 0.6; better 0.1, 0.4, 0.6, 0.7; worse 0, 0.2, 0.4, 0.5
        assert (row["rounds"], row["rounds_low"], row["rounds_high"]) == (20, 20, 30)
        assert row["bytes_total_high"] == 600_000_000
        assert row["flops_low"] == 20_000

    def test_an_end_that_is_never_reached_is_missing(self, histories):
        targets = make_targets(histories)
        row = by_algorithm(targets[targets["target"] == 55]).loc["FedAvg"]
        # one of four resamples has the worse client alone, who gets to 50 %
        assert (row["rounds"], row["rounds_low"]) == (30, 20)
        assert pd.isna(row["rounds_high"])

    def test_what_diverged_or_was_not_evaluated_reaches_nothing(
        self, histories, empty_history
    ):
        history = histories["FedAvg"].copy()
        history.attrs["diverged"] = {"round": 31}
        tables = {"FedAvg": history, "new": empty_history, **histories}
        tables |= {"FedAvg": history}
        found = by_algorithm(make_targets(tables))
        for label in ("FedAvg", "new"):
            assert found.loc[label, "rounds"].isna().all()
        assert found.loc["FedMeta(MAML)", "rounds"].notna().all()


class TestOverheadTable:
    def test_first_row_that_reaches_the_target(self, histories):
        table = by_algorithm(overhead_table(found({}, histories), 0.5))
        assert table.loc["FedAvg", "rounds"] == 20  # equality is enough
        assert table.loc["FedMeta(MAML)", "rounds"] == 10
        assert table.loc["FedMeta(MAML)", "bytes_total"] == 200_000_000
        assert table.loc["FedMeta(MAML)", "flops"] == 10_000

    def test_reduction_is_relative_to_fedavg(self, histories):
        table = by_algorithm(overhead_table(found({}, histories), 0.5))
        assert table.loc["FedAvg", "communication_reduction"] == 1
        assert table.loc["FedMeta(MAML)", "communication_reduction"] == 2

    def test_not_reached_is_a_value(self, histories):
        row = by_algorithm(overhead_table(found({}, histories), 0.5)).loc[
            "FedMeta(Meta-SGD)"
        ]
        assert row["outcome"] == "not reached"
        assert row["best_accuracy"] == approx(40)
        assert pd.isna(row["rounds"]) and pd.isna(row["communication_reduction"])

    def test_nobody_reaches_it(self, histories):
        table = overhead_table(found({}, histories), 0.95)
        assert set(table["outcome"]) == {"not reached"}
        assert table["bytes_total"].isna().all()

    def test_analytic_against_counted(self, histories):
        assert overhead_table(found({}, histories), 0.5)[
            "flops_difference"
        ].tolist() == (approx([1, 1, 1]))

    def test_empty_history_is_not_reached(self, empty_history):
        row = overhead_table(found({}, {"FedAvg": empty_history}), 0.5).iloc[0]
        assert row["outcome"] == "not reached"
        assert pd.isna(row["flops_difference"])

    def test_reached_untrained_costs_nothing(self, histories):
        history = histories["FedAvg"].assign(validation_accuracy_after=1.0)
        row = overhead_table(found({}, {"FedAvg": history}), 0.5).iloc[0]
        assert row["rounds"] == 0 and row["bytes_total"] == 0
        assert pd.isna(row["communication_reduction"])

    @pytest.mark.parametrize("target", [0, 74, -0.1])
    def test_target_must_be_a_fraction(self, histories, target):
        with pytest.raises(ValueError, match=r"write 74 % as 0\.74"):
            overhead_table(found({}, histories), target)


def test_first_reaching_ignores_the_order_of_rows(histories):
    backwards = histories["FedMeta(MAML)"].iloc[::-1]
    assert first_reaching(backwards, 0.65)["round"] == 20


def test_a_deviation_in_flop_has_a_prefix_of_its_own():
    table = pd.DataFrame({"flops": [2.5e12], "flops_sd": [1.89e10]})
    table = table.assign(final=50.0, final_sd=0.5)
    ((_, (row,)),) = shown(table).bodies
    assert [cell.text for cell in row] == ["2.50 TFLOP ± 18.9 GFLOP", "50.0 % ± 0.50"]
