"""Evaluation: test clients before and after adaptation."""

from fedmeta.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
