"""Federated meta-learning (Chen et al., arXiv 1802.07876) as a Kedro project."""

__version__ = "0.1.0"
