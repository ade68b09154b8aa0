"""What the pipelines need to know of a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fedmeta.core.model import Model
from fedmeta.data.encoding import Codebook, Encoding, Labels, stored_labels
from fedmeta.data.federated import ClientRecords
from fedmeta.data.select import select_clients
from fedmeta.data.statistics import Reference
from fedmeta.data.summaries import Summarise
from fedmeta.data.user_records import TableForm
from fedmeta.late import pd

# The columns of the paper's Table 2.
TABLE2 = ("FedAvg", "FedAvg(Meta)", "FedMeta(MAML)", "FedMeta(Meta-SGD)")


class Said(NamedTuple):
    """What the paper says of a data set beside Table 2 (section 4.2)."""

    cheapest: str  # algorithm with the fewest operations to the target accuracy
    first_order_sends: str  # FOMAML beside MAML, up to there: "more" or "less"
    # Variance of clients' accuracies, FedMeta's beside FedAvg's: "lower" or "higher";
    # "": nothing is said
    variance: str = ""


class Benchmark(NamedTuple):
    """A data set and the model that the paper puts on it.

    A function with ``...`` takes further arguments by name: the options of its block
    in the benchmark's parameters file.
    """

    label: str  # in tables and figures
    find_raw: Callable[[Path], list[Path]]  # folder -> its raw files
    # block raw; raw files -> stream of clients, metadata
    parse: Callable[..., tuple[Iterator[ClientRecords], dict[str, str]]]
    # block raw.sample; folder -> generated raw files, for use offline
    write_sample: Callable[..., list[Path]]
    # block encoding; records, training clients' rows of the clients table -> codebook
    codebook: Callable[..., Codebook]
    encoding: Callable[[Codebook], Encoding]
    model: Callable[..., Model]  # block model, and the encoding's sizes
    # block selection; records -> clients table
    select_clients: Callable[..., pd.DataFrame] = select_clients
    labels: Labels = stored_labels
    window_overlap: int = 0  # records of a client nearer than this share content
    table1: Mapping[str, Reference] = {}  # the paper's statistics
    table2: Mapping[float, Mapping[str, float]] = {}  # support fraction -> label -> %
    # Whether it is one data set, of which others are told apart as standing in for it.
    published: bool = True
    table_form: TableForm | None = None  # of a user's own records; None: there is none
    # What the codebook counts over training clients; None: nothing, or records too.
    summary: Summarise | None = None
    said: Said | None = None  # None: the paper does not have it


def table2(rows: Mapping[float, tuple[float, ...]]) -> dict[float, dict[str, float]]:
    """Percent by support fraction and label, from the rows of the paper's Table 2."""
    return {p: dict(zip(TABLE2, row, strict=True)) for p, row in rows.items()}
