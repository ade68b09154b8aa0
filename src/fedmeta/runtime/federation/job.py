"""What a training asks of nodes: names and options, from which a node builds the same.

No code travels. A node builds model, algorithms and tasks from its own installation, as
the training does, and refuses a job of another version.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Job(NamedTuple):
    """A benchmark's options, as far as they say what clients compute."""

    version: str  # `fedmeta.runtime.on_worker.version` of the server
    benchmark: str  # in `fedmeta.benchmarks.registry`
    selection: Mapping[str, Any]
    partition: Mapping[str, Any] = {}  # arguments of `partition_examples`
    model: Mapping[str, Any] = {}
    names: Sequence[str] = ()  # of the algorithms, the one that is trained first
    blocks: Mapping[str, Mapping[str, Any]] = {}  # their options
    codebook: str = ""  # checksum of that which goes with it
    tasks: Mapping[str, Any] = {}  # seed, and how a round's records are drawn
    compression: Mapping[str, Any] | None = None  # of updates, by `core.compression`
    chunk: int = 256  # records differentiated at once: bounds memory
    # How classes and categories of all nodes are numbered, by the metadata's names.
    vocabularies: Mapping[str, str] = {}
