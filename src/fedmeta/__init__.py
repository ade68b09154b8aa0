"""Federated meta-learning (Chen et al., arXiv 1802.07876) as a Kedro project."""

from fedmeta.core.allocator import one_heap

__version__ = "0.1.0"

# Here, since threads start when pyarrow and others are imported.
one_heap()
