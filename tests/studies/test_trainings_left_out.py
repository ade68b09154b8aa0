"""`kedro reproduce` finds what was recorded: a training of a study may be missing."""

import pytest
from study_samples import found, study_history, study_scores

from fedmeta.reporting.verdicts import NOT_MEASURED
from fedmeta.studies import compression, privacy


@pytest.mark.parametrize("study", [compression, privacy])
def test_nothing_is_compared_with_another_training_in_its_place(study):
    (cells,) = [e.variants for e in study.STUDY.experiments]
    of_each = study_scores({0: [5, 5], 1: [6, 6]}), study_history([0.1, 0.5])
    first = {v.algorithm: name for name, v in reversed(cells.items())}.values()
    report = study.report(
        found(
            {
                name: ({"algorithm": v.algorithm, **v.factors}, *of_each)
                for name, v in cells.items()
                if name not in first  # what the others are compared with
            }
        )
    )
    assert len(report.claims) == len(cells) - len(first)
    assert {claim.outcome.verdict for claim in report.claims} == {NOT_MEASURED}
