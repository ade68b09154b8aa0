"""Ingestion: raw files to packed records."""

from fedmeta.pipelines.ingestion.pipeline import create_pipeline

__all__ = ["create_pipeline"]
