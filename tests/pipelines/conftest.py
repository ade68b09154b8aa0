"""Clients to train on within milliseconds, and a project to run pipelines in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedmeta.benchmarks.femnist.pixels import codebook
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.partition import partition_examples, split_clients


@pytest.fixture(scope="session")
def project(new_project: Callable[[], Path]) -> Path:
    """Where all pipelines of this folder's tests are run."""
    return new_project()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Arguments of `train` that describe twenty generated clients."""
    path = tmp_path_factory.mktemp("packed") / "records.arrow"
    rng = np.random.default_rng(0)

    def client(number: int) -> ClientRecords:
        n = 6 + number % 5
        pixels = rng.integers(0, 256, (n, 64), dtype=np.uint8)
        return ClientRecords(
            f"c{number:02d}",
            {"pixels": pixels, "label": rng.integers(0, 4, n, dtype=np.uint8)},
        )

    write_packed(path, (client(i) for i in range(20)), {"synthetic": "true"})
    records = read_packed(path)
    clients = pd.DataFrame(
        {"client_id": records.client_ids, "start": 0, "stop": records.num_examples}
    )
    return {
        "records": records,
        "clients": clients,
        "client_split": split_clients(records.client_ids, [0.7, 0.15, 0.15], 0),
        "support_query": partition_examples(clients, 0.4, 0),
        "codebook": codebook(records, clients),
    }
