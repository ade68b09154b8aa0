"""Studies of related papers, over the seeds that were recorded."""

import re

import pandas as pd
import pytest
from made_up_runs import frame, history, recorded

from fedmeta.reproduction.runs import Recorded
from fedmeta.reproduction.study import declared_studies
from fedmeta.studies import nustep

HOMES = [experiment.home for experiment in nustep.STUDY.experiments]
EPOCHS = range(6)


class Store(Recorded):
    """Tables from memory: the more steps in training, the better with many."""

    def __init__(self):
        pass

    def table(self, run, path):
        if path.startswith("report/"):
            return None
        if "_history" in path:
            return history("maml", run.seed)
        nu = int(run.algorithm.removeprefix("nu").partition("_")[0])
        right = [30 + 5 * nu * (n == nu) + run.seed + nu for n in EPOCHS]
        rows = {"client_id": "a", "epochs": EPOCHS, "num_support": 5}
        return pd.DataFrame({**rows, "num_query": 100, "accuracy_sum": right})


def runs(seeds, kind=""):
    return frame(
        recorded(name, 0.2, seed, benchmark=home, experiment=f"{home}{kind}")
        for home in HOMES
        for name in nustep.VARIANTS
        for seed in seeds
    )


def test_three_seeds_give_verdicts():
    (study,) = declared_studies(Store(), runs((0, 1, 2)))
    assert study.name == "femnist_nu_step_study, 20 % support" and not study.missing
    verdicts = {c.claim: c.outcome for c in study.report.claims}
    beats = "Label skew: with 5 steps at test, ν = 5 beats ν = 1"
    assert verdicts[beats] == ("held", "for", 3)
    table = study.report.tables["accuracy"].set_index(nustep.BY)
    # 30 + 5 * 5 + 5 + the seed
    assert table.loc[("label skew", 5, "exact"), "steps_5"] == pytest.approx(61)
    assert table.loc[("label skew", 5, "exact"), "steps_5_sd"] == pytest.approx(1)
    assert set(study.shown) == {"accuracy", "rounds"}
    assert len(study.report.tables["runs"]) == len(HOMES) * len(nustep.VARIANTS) * 3


def test_what_is_missing_is_told():
    (study,) = declared_studies(Store(), runs((0,)))
    assert {c.outcome.verdict for c in study.report.claims} == {"undecided"}
    assert study.missing[0][1] == (
        "kedro sweep --pipeline femnist_nu_step_study --env paper --params seed=1,2"
    )


def test_other_data_are_another_study():
    both = pd.concat([runs((0,)), runs((0,), " (synthetic smoke)")])
    found = [study.name for study in declared_studies(Store(), both)]
    assert found == [
        "femnist_nu_step_study, 20 % support",
        "femnist_nu_step_study (synthetic smoke), 20 % support",
    ]


def test_no_run_of_a_study():
    none = frame([recorded("maml")])
    assert list(declared_studies(Store(), none)) == []


def test_runs_that_have_all_lost_their_files_are_told(caplog):
    class Empty(Store):
        def table(self, run, path):
            return None

    assert list(declared_studies(Empty(), runs((0,)))) == []
    assert re.search("left out [0-9]+ runs? of .*kedro track logs again", caplog.text)
