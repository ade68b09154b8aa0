"""Memory that a training holds, as its rounds go on."""

import ctypes
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_training import BLOCKS, PARTITION, TRAINING

from fedmeta.benchmarks.femnist.pixels import codebook
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.federated import ClientRecords, read_packed, write_packed
from fedmeta.data.partition import partition_examples, split_clients
from fedmeta.datasets import EarlierCheckpointsDataset
from fedmeta.pipelines.data import Data
from fedmeta.pipelines.training import nodes

ROUNDS, EVERY = 24, 6


def held(folder: Path) -> tuple[list[float], int]:
    """What a training holds whose clients all differ in size.

    Returns:
        (MB of anonymous memory before it, after the evaluation of 48 clients that it
        begins with, and after every six rounds and an evaluation; heaps in the end)
    """
    rng = np.random.default_rng(0)
    path = folder / "records.arrow"
    write_packed(
        path,
        (
            ClientRecords(
                f"c{n:03d}",
                {
                    "pixels": rng.integers(0, 256, (n, 64), dtype=np.uint8),
                    "label": rng.integers(0, 4, n, dtype=np.uint8),
                },
            )
            for n in range(10, 130)
        ),
        {"synthetic": "true"},
    )
    records = read_packed(path)
    clients = pd.DataFrame(
        {"client_id": records.client_ids, "start": 0, "stop": records.num_examples}
    )
    training = nodes.train(
        BENCHMARKS["femnist"],
        ["maml"],
        Data(
            records,
            clients,
            split_clients(records.client_ids, [0.5, 0.4, 0.1], 0),
            partition_examples(clients, 0.4, 0),
            codebook(records, clients),
        ),
        EarlierCheckpointsDataset(str(folder / "maml.safetensors")).load(),
        PARTITION,
        TRAINING.model_copy(
            update={"rounds": ROUNDS, "evaluate_every": EVERY, "backend": "threaded"}
        ),
        {"channels": [16, 32], "hidden": 64, "classes": 4, "image_size": 8},
        maml=BLOCKS["maml"],
    )
    megabytes = [_anonymous_megabytes(), *(_anonymous_megabytes() for _ in training)]
    return megabytes, _heaps(folder / "heaps.xml")


def _anonymous_megabytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["RssAnon"].split()[0]) / 1e3


def _heaps(written: Path) -> int:
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(bytes(written), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    return written.read_text().count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_rounds(tmp_path, monkeypatch):
    # In a process of its own, where settings of memory are still to be made, and which
    # loads the package first, as Kedro does.
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        monkeypatch.delenv(cache, raising=False)
    with ProcessPoolExecutor(
        1, get_context("spawn"), import_module, ("fedmeta",)
    ) as process:
        megabytes, heaps = process.submit(held, tmp_path).result()
    before, evaluated, settled, *_, end = megabytes
    assert heaps == 1
    assert evaluated - before < 90  # 160 with caches of their default sizes
    assert end - settled < 8  # 20 with these, and more with larger models
