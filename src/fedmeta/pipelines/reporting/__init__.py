"""Reporting: tables, figures and one page over all algorithms of a benchmark."""

from fedmeta.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
