"""Preparation: which clients and records take part, and in which role."""

from fedmeta.pipelines.preparation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
