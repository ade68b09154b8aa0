"""Kedro's settings of the project."""

import warnings

# An environment such as conf/paper names only the parameters that differ.
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
}

# Kedro 1.7 calls a function that omegaconf is about to rename: nothing to do here.
warnings.filterwarnings("ignore", message="register_new_resolver")
