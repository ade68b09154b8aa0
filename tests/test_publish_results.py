"""Tables that are published of several runs."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

TOOL = Path(__file__).parents[1] / "tools" / "publish_results.py"


def test_no_mean_is_over_the_seeds_that_are_left(tmp_path):
    reports = []
    for seed, maml in enumerate([80.0, np.nan, 84.0]):
        reports.append(tmp_path / f"p0.2_seed{seed}")
        reports[-1].mkdir()
        rows = {"algorithm": ["FedAvg", "MAML"], "micro_after": [70.0 + seed, maml]}
        pd.DataFrame(rows).to_csv(reports[-1] / "accuracy.csv", index=False)
    table = runpy.run_path(str(TOOL))["seeds"](reports).set_index("algorithm")
    assert table.loc["FedAvg"].tolist() == pytest.approx([70, 71, 72, 71, 1])
    assert table.loc["MAML", ["seed0", "seed2"]].tolist() == [80, 84]
    assert table.loc["MAML", ["seed1", "mean", "deviation"]].isna().all()
