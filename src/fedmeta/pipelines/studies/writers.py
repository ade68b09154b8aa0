"""FEMNIST's natural writers, prepared for the studies of related papers."""

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines import ingestion, preparation

DATA = "femnist_writers"
RECORDS = "femnist.records"
UNSEEN = "Those who are judged, and those whom curves show, took no part in training."
NOTE = "Natural writers: pixels are inverted, so that 1 is ink."
WRITERS = BENCHMARKS["femnist"]


def create_pipeline() -> Pipeline:
    """Raw files -> writers, prepared as any clients are."""
    return ingestion.create_pipeline("femnist") + preparation.create_pipeline(
        DATA, WRITERS, RECORDS
    )
