"""The same three algorithms for every test."""

import pandas as pd
import pytest
from report_samples import COST_COLUMNS, HISTORY_COLUMNS, make_history, make_scores


@pytest.fixture
def histories():
    return {
        "FedAvg": make_history([0.0, 0.3, 0.5, 0.6]),
        "FedMeta(MAML)": make_history([0.0, 0.6, 0.7, 0.8], [0.0, 0.1, 0.1, 0.1]),
        "FedMeta(Meta-SGD)": make_history([0.0, 0.2, 0.4, 0.4], megabytes=20),
    }


@pytest.fixture
def scores():
    return {
        "FedAvg": make_scores([1, 9], [1, 3], [1, 3]),
        "FedMeta(MAML)": make_scores([1, 9], [0, 0], [0, 9]),
        "FedMeta(Meta-SGD)": make_scores([1, 9], [0, 3], [1, 6]),
    }


@pytest.fixture
def empty_history():
    return pd.DataFrame(columns=HISTORY_COLUMNS + COST_COLUMNS)
