"""Claims (a) to (d) hold on the paper's own table, and fail when it is changed."""

import numpy as np
import pandas as pd
import pytest
from outcomes import side

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.reporting.measures import Value, known
from fedmeta.reproduction.claims import (
    above_baseline,
    fewer_rounds,
    fine_tuning,
    headline,
    published,
    shrinking_lead,
)

FRACTIONS = [0.2, 0.5, 0.9]
FEMNIST = BENCHMARKS["femnist"].table2
TABLES = [b.table2 for b in BENCHMARKS.values() if b.table2]


def changed(p, label, value):
    return published({**FEMNIST, p: {**FEMNIST[p], label: value}})


@pytest.mark.parametrize("paper", TABLES)
def test_the_papers_table_bears_its_claims_out(paper):
    assert side(above_baseline(published(paper), FRACTIONS)) is True
    assert side(fine_tuning(published(paper), paper, FRACTIONS)) is True
    assert side(shrinking_lead(published(paper))) is True


def test_one_cell_below_fedavg_is_enough():
    claim = above_baseline(changed(0.5, "FedMeta(MAML)", 75.0), FRACTIONS)
    assert side(claim) is False
    assert "FedMeta(MAML) -0.44" in claim.figures


def test_a_claim_names_what_was_measured_and_what_was_not():
    claim = above_baseline(published({0.2: FEMNIST[0.2]}), FRACTIONS)
    assert claim.claim == "(a) FedMeta is above FedAvg at 20 %"
    assert side(claim) is True
    assert claim.figures.endswith("50 %: not measured; 90 %: not measured")


def test_nothing_measured():
    for claim in (
        above_baseline({}, FRACTIONS),
        fine_tuning({}, FEMNIST, FRACTIONS),
        shrinking_lead(published({0.2: FEMNIST[0.2]})),
        fewer_rounds({}, {}, FRACTIONS),
    ):
        assert side(claim) is None
        assert "not measured" in claim.figures or "at 20 %" in claim.figures


def test_fine_tuning_is_to_help_where_it_helps_in_the_paper():
    shakespeare = BENCHMARKS["shakespeare"].table2
    claim = fine_tuning(published(FEMNIST), shakespeare, FRACTIONS)
    assert side(claim) is False  # at 20 % it helps here, and harms there
    assert claim.claim == (
        "(b) FedAvg(Meta), beside FedAvg, is below it at 20 % and above it at 50 % "
        "and 90 %"
    )
    assert "20 %: +6.79 (paper -2.05)" in claim.figures


def test_a_growing_lead():
    assert side(shrinking_lead(changed(0.9, "FedAvg(Meta)", 80.0))) is False


def overhead(**rounds):
    labels = {"fedavg": "FedAvg", "maml": "FedMeta(MAML)", "sgd": "FedMeta(Meta-SGD)"}
    return pd.DataFrame(
        {
            "algorithm": [labels[name] for name in rounds],
            "target": 74.0,
            "outcome": [
                "not reached" if r is None else "reached" for r in rounds.values()
            ],
            "rounds": pd.array(list(rounds.values()), dtype="Int64"),
            "flops": [r and 2.5e9 * r for r in rounds.values()],
        }
    )


def sooner(**rounds):
    table = overhead(**rounds)
    needed = {
        label: known(np.inf if pd.isna(r) else r)
        for label, r in zip(table["algorithm"], table["rounds"], strict=True)
    }
    return fewer_rounds({0.2: table}, {0.2: needed}, [0.2])


@pytest.mark.parametrize(
    ("rounds", "held"),
    [
        ({"fedavg": 800, "maml": 400, "sgd": 300}, True),
        ({"fedavg": 800, "maml": 800, "sgd": 300}, False),
        ({"fedavg": None, "maml": 800}, True),
        ({"fedavg": 800, "maml": None}, False),
        ({"fedavg": None, "maml": None}, None),
        ({"maml": 400}, None),
    ],
)
def test_fewer_rounds(rounds, held):
    assert side(sooner(**rounds)) is held


def test_rounds_are_told_with_what_they_compute():
    claim = sooner(fedavg=800, maml=400, sgd=None)
    assert claim.figures == (
        "20 %: FedAvg 800 rounds, 2.00 TFLOP, FedMeta(MAML) 400 rounds, 1.00 TFLOP,"
        " FedMeta(Meta-SGD) not reached"
    )


def test_headline():
    assert headline("FEMNIST", [known(5), known(-1)], [3.23, 14.84]) == (
        "FedMeta's gain over FedAvg on FEMNIST is -1.00 to +5.00 points, over 2 cells "
        "of Table 2; the paper's is +3.23 to +14.84, over 2 cells."
    )
    assert "not measured on FEMNIST" in headline("FEMNIST", [], [3.23])


def test_fine_tuning_that_changes_nothing_does_not_help():
    same = {0.2: {"FedAvg": 70.0, "FedAvg(Meta)": 70.0}}
    assert side(fine_tuning(published(same), FEMNIST, FRACTIONS)) is False
    assert (
        side(fine_tuning(published(same), BENCHMARKS["sent140"].table2, FRACTIONS))
        is False
    )


def test_three_seeds_that_agree_decide():
    def seeds(*values):
        return Value(pd.Series(values, dtype=float))

    found = {0.2: {"FedAvg": seeds(70, 72, 74), "FedMeta(MAML)": seeds(75, 77.1, 79)}}
    claim = above_baseline(found, [0.2])
    assert claim.outcome == ("held", "for", 3)
    found[0.2]["FedMeta(MAML)"] = seeds(75, 77.1, 60)
    assert above_baseline(found, [0.2]).outcome == ("undecided", "against", 3)
