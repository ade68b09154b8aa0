"""Training: the round loop of an algorithm, with its checkpoints and its history."""

from fedmeta.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
