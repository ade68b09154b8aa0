"""Kedro's settings of the project."""

import sys
import warnings

from fedmeta.configuration import Loader
from fedmeta.display import ShowProgress
from fedmeta.hooks import CheckParameters, ShowTheWay, TellDivergence
from fedmeta.session import Session, tolerate
from fedmeta.tracking import MlflowHook
from fedmeta.turns import TakeTurns

SESSION_CLASS = Session
# Told of an end from the last to the first: a turn is over when all has been tracked.
HOOKS = (
    CheckParameters(),
    TakeTurns(),
    ShowProgress(),
    MlflowHook(),
    ShowTheWay(),
    TellDivergence(),
)

CONFIG_LOADER_CLASS = Loader
# An environment such as conf/paper names only the parameters that differ.
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}

# Kedro 1.7 calls a function that omegaconf is about to rename: nothing to do here.
warnings.filterwarnings("ignore", message="register_new_resolver")

# Namespaces of nodes are stages and algorithms, which Kedro-Viz folds into a box each;
# dataset names begin with the benchmark. Kedro warns where the two differ.
warnings.filterwarnings("ignore", message="One or more dataset names contain '.'")

for _stream in (sys.stdout, sys.stderr):
    tolerate(_stream)
