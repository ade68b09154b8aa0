"""A model of a finished run, adapted in memory to users' own records.

`run` loads what a run has learned and `on_node` what a node was sent, `personal` adapts
it and predicts, `tables` reads and writes rows; `pyfunc` is the same as a model of
MLflow's. Nothing of a user's is written anywhere.
"""

from fedmeta.serving.learned import Learned, Personaliser, build_personaliser
from fedmeta.serving.on_node import load_node
from fedmeta.serving.personal import personalise, recommend
from fedmeta.serving.run import load_run

__all__ = [
    "Learned",
    "Personaliser",
    "build_personaliser",
    "load_node",
    "load_run",
    "personalise",
    "recommend",
]
