"""Claims (a) to (e) hold on the paper's own table, and fail when it is changed."""

import numpy as np
import pandas as pd
import pytest
from outcomes import side

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.reporting.measures import Value, known
from fedmeta.reproduction.claims import (
    above_baseline,
    as_said,
    fewer_rounds,
    fine_tuning,
    headline,
    less_traffic,
    rising,
    shrinking_lead,
)

FRACTIONS = [0.2, 0.5, 0.9]
FEMNIST = BENCHMARKS["femnist"].table2
TABLES = [b.table2 for b in BENCHMARKS.values() if b.table2]


def published(paper):
    """The paper's accuracies, as those of one run."""
    return {p: {k: known(x) for k, x in row.items()} for p, row in paper.items()}


def changed(p, label, value):
    return published({**FEMNIST, p: {**FEMNIST[p], label: value}})


@pytest.mark.parametrize("paper", TABLES)
def test_the_papers_table_bears_its_claims_out(paper):
    assert side(above_baseline(published(paper), FRACTIONS)) is True
    assert side(fine_tuning(published(paper), paper, FRACTIONS)) is True
    assert side(shrinking_lead(published(paper))) is True
    assert side(rising(published(paper))) is True


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
        fewer_rounds({p: {} for p in FRACTIONS}, {}, "74 %"),
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


LABELS = {
    "fedavg": "FedAvg",
    "maml": "FedMeta(MAML)",
    "fomaml": "FedMeta(FOMAML)",
    "sgd": "FedMeta(Meta-SGD)",
}


def costs(unit=1.0, **by_name):
    """Of one seed at 20 % support; None: the target was not reached."""
    spent = {n: np.inf if x is None else unit * x for n, x in by_name.items()}
    return {0.2: {LABELS[name]: known(x) for name, x in spent.items()}}


def sooner(**rounds):
    return fewer_rounds(costs(**rounds), costs(2.5e9, **rounds), "74 %")


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


def test_accuracies_rise_from_the_least_support_to_the_most():
    claim = rising(published(FEMNIST))
    assert claim.figures.startswith(
        "FedAvg(Meta): 83.58 at 20 %, 87.84 at 50 %, 88.76 at 90 %; FedMeta(MAML): "
    )
    assert side(rising(changed(0.9, "FedMeta(MAML)", 88.0))) is False
    assert side(rising(changed(0.5, "FedMeta(MAML)", 70.0))) is True  # the ends count
    assert side(rising(published({0.2: FEMNIST[0.2]}))) is None


@pytest.mark.parametrize(
    ("traffic", "held", "figures"),
    [
        ({"fedavg": 300, "maml": 100}, True, "FedMeta(MAML) 3.00 times"),
        ({"fedavg": 280, "maml": 100}, False, "FedMeta(MAML) 2.80 times"),
        (
            {"fedavg": 300, "maml": 100, "sgd": 200},
            False,
            "FedMeta(MAML) 3.00 times, FedMeta(Meta-SGD) 1.50 times",
        ),
        (
            {"fedavg": None, "maml": 100},
            True,
            "FedMeta(MAML) open (FedAvg not reached)",
        ),
        ({"fedavg": 300, "maml": None}, False, "FedMeta(MAML) 0.00 times"),
        (
            {"fedavg": None, "maml": None},
            None,
            "FedMeta(MAML) open (FedAvg not reached)",
        ),
        # the first evaluation is before the first round
        ({"fedavg": 0, "maml": 100}, False, "FedMeta(MAML) 0.00 times"),
        ({"fedavg": 300, "maml": 0}, True, "FedMeta(MAML) without traffic"),
        ({"fedavg": 0, "maml": 0}, False, "FedMeta(MAML) without traffic"),
        ({"fedavg": None, "maml": 0}, True, "FedMeta(MAML) open (FedAvg not reached)"),
        ({"maml": 100}, None, "not measured"),
    ],
)
def test_traffic(traffic, held, figures):
    claim = less_traffic(costs(**traffic), "74 %")
    assert (
        claim.claim
        == "(f) FedMeta reaches 74 % with 2.82 times less traffic than FedAvg"
    )
    assert (side(claim), claim.figures) == (held, f"20 %: {figures}")


def said_of(benchmark, flops=None, traffic=None, variances=None):
    """(g), (h), (i), and (j) if the paper says something of variances."""
    figures = (costs(**(of or {})) for of in (flops, traffic, variances))
    return as_said(*figures, BENCHMARKS[benchmark].said, "74 %")


@pytest.mark.parametrize(
    ("benchmark", "flops", "held"),
    [
        ("femnist", {"fedavg": 9, "maml": 3, "fomaml": 2, "sgd": 4}, True),
        ("femnist", {"fedavg": 9, "maml": 3, "fomaml": 2, "sgd": 1}, False),
        ("femnist", {"fedavg": 9, "maml": 3}, None),
        ("shakespeare", {"fedavg": 1, "maml": 3, "fomaml": 2}, True),
        ("shakespeare", {"fedavg": 2, "maml": 3, "fomaml": 2}, False),
        ("sent140", {"fedavg": 9, "fomaml": 2}, True),
    ],
)
def test_which_algorithm_computes_least(benchmark, flops, held):
    fewest, *_ = said_of(benchmark, flops)
    assert side(fewest) is held


def test_what_first_order_saves_and_sends():
    _, fewer, *_ = said_of("femnist", {"unit": 1e12, "maml": 3, "fomaml": 2})
    assert side(fewer) is True
    assert fewer.figures == "20 %: FedMeta(FOMAML) 2.00 TFLOP, FedMeta(MAML) 3.00 TFLOP"
    _, fewer, *_ = said_of("femnist", {"maml": 3, "fomaml": None})
    assert side(fewer) is False
    for benchmark, held in {"femnist": True, "shakespeare": False}.items():
        _, _, sent, *_ = said_of(benchmark, traffic={"maml": 3, "fomaml": 4})
        assert side(sent) is held
        more = BENCHMARKS[benchmark].said.first_order_sends
        assert f" {more} traffic" in sent.claim


def test_how_accuracies_are_spread():
    variances = {"fedavg": 150, "maml": 50, "sgd": 40}
    *_, claim = said_of("femnist", variances=variances)
    assert side(claim) is True
    assert claim.figures == ("20 %: FedMeta(MAML) 50, FedMeta(Meta-SGD) 40, FedAvg 150")
    *_, claim = said_of("shakespeare", variances=variances)
    assert side(claim) is False
    assert len(said_of("sent140", variances=variances)) == 3
    *_, claim = said_of("femnist", variances=variances | {"sgd": 160})
    assert side(claim) is False


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
