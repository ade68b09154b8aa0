"""FEMNIST's natural writers, prepared for the studies of related papers."""

from collections.abc import Mapping
from typing import Any

from kedro.pipeline import Pipeline

from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.pipelines import ingestion, preparation
from fedmeta.pipelines.options import checked

DATA = "femnist_writers"
RECORDS = "femnist.records"
UNSEEN = "Those who are judged, and those whom curves show, took no part in training."
NOTE = "Natural writers: pixels are inverted, so that 1 is ink."
WRITERS = BENCHMARKS["femnist"]


def check(parameters: Mapping[str, Any]) -> None:
    """Refuse options of the data that no function takes.

    Args:
        parameters: all parameters, by name and block.

    Raises:
        ValueError: for an unknown option, or a wrong type.
    """
    blocks = parameters[DATA]
    checked(WRITERS.select_clients, blocks["selection"], f"{DATA}.selection", given=1)
    checked(WRITERS.codebook, blocks["encoding"], f"{DATA}.encoding", given=2)


def create_pipeline() -> Pipeline:
    """Raw files -> writers, prepared as any clients are."""
    return ingestion.create_pipeline("femnist") + preparation.create_pipeline(
        DATA, WRITERS, RECORDS
    )
