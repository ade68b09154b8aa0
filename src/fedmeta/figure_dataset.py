"""Figures in the catalog; a module of its own, since matplotlib is slow to import."""

from kedro_datasets.matplotlib import MatplotlibDataset

from fedmeta.datasets import Atomic


class AtomicMatplotlibDataset(Atomic, MatplotlibDataset):
    """kedro_datasets.matplotlib.MatplotlibDataset, written whole or not at all."""
