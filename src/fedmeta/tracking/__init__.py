"""Runs in MLflow: one for every algorithm, as flat as the charts of its UI like them.

`measures` says what is logged, `store` how, `hook` when.
"""

from fedmeta.tracking.hook import MlflowHook

__all__ = ["MlflowHook"]
