"""Data of a federation: what nodes say of the clients that they hold."""

from fedmeta.pipelines.federation.pipeline import create_pipeline, remote

__all__ = ["create_pipeline", "remote"]
