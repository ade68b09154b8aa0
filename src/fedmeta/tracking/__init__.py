"""Runs in MLflow: one for every algorithm, as flat as the charts of its UI like them.

`record` keeps what there is to say of a run under data/, `hook` says when, `measures`
what; `sender` takes records to MLflow, and `store` logs what it lacks of one.
"""

from fedmeta.tracking.hook import MlflowHook

__all__ = ["MlflowHook"]
