"""No file that is damaged is used in silence, whatever has happened to its bytes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DatasetError

from fedmeta.checkpoints import Checkpoint
from fedmeta.core.types import ServerState
from fedmeta.data.encoding import Codebook
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords
from fedmeta.datasets import (
    AtomicJSONDataset,
    AtomicParquetDataset,
    CheckpointDataset,
    CodebookDataset,
    EarlierCheckpointsDataset,
    PackedDataset,
    PackedSource,
    ResultDataset,
)
from fedmeta.session import message_of

TABLE = pd.DataFrame({"client_id": ["ann", "böb"], "stop": [3, 4], "loss": [0.1, 2.0]})
RESULT = TABLE.copy()
RESULT.attrs = {"settings": {"training.rounds": 5, "maml.inner_lr": 0.1}}


def checkpoint(number: int, rounds: int = 9, shared: str = "") -> Checkpoint:
    theta = {"weight": torch.arange(40.0).reshape(5, 8), "bias": torch.ones(3)}
    steps = {name: torch.full([], 9.0) for name in theta}
    state = ServerState({"theta": theta}, {"step": {"theta": steps}}, number)
    history = {"maml": pd.DataFrame({"round": [0, number], "loss": [float("nan"), 1]})}
    return Checkpoint({"training.seed": 0}, state, history, rounds, shared)


KEPT = checkpoint(5).fingerprint  # the files' names begin with twelve of its digits


def packed_source() -> PackedSource:
    clients = [
        ClientRecords(
            name,
            {
                "pixels": np.arange(size * 4, dtype=np.uint8).reshape(size, 4),
                "label": np.arange(size, dtype=np.uint8),
            },
        )
        for name, size in [("ann", 5), ("bob", 0), ("cid", 9)]
    ]
    packed = iter(clients), {"synthetic": "true"}
    return PackedSource(lambda: packed, {"data.raw_files": "one"})


INDEX = {"save_args": {"index": False}}
VECTORS = {"hashes": torch.arange(9), "vectors": torch.ones(9, 2)}
SPLIT = {"train": ["a", "b"], "test": ["c"], "checksum": "d"}

# kind of file -> dataset, its options, content, the file that is damaged
KINDS = {
    "packed": (PackedDataset, {}, packed_source, "data"),
    "checkpoint": (
        CheckpointDataset,
        {},
        lambda: checkpoint(5),
        f"data-{KEPT[:12]}-9*",
    ),
    "codebook": (CodebookDataset, {}, lambda: Codebook(VECTORS, "nöte"), "data"),
    "table": (AtomicParquetDataset, {}, lambda: TABLE, "data"),
    "split": (AtomicJSONDataset, {}, lambda: SPLIT, "data"),
    "list": (AtomicJSONDataset, {}, lambda: ["raw/a.json", "raw/b.json"], "data"),
    "result": (ResultDataset, INDEX, lambda: RESULT, "data"),
    "origin": (ResultDataset, INDEX, lambda: RESULT, "data.json"),
}


@pytest.fixture(params=KINDS)
def kept(request, tmp_path):
    """A dataset that has been saved, and the path of what it has written."""
    kind, options, content, name = KINDS[request.param]
    dataset = kind(filepath=str(tmp_path / "data"), **options)
    dataset.save(content())
    (path,) = tmp_path.glob(name)
    return dataset, path


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """So many contents that are other than this one."""
    rng, size = np.random.default_rng(0), len(content)
    names = ["flip", "cut", "zero", "insert", "drop", "swap", "noise", "append"]
    while count:
        kind = names[count % len(names)]
        a, b, c = sorted(rng.integers(0, size + 1, 3))
        noise = rng.bytes(int(rng.integers(1, 40)))
        flipped = bytearray(content)
        flipped[rng.integers(size)] ^= 1 << rng.integers(8)
        damaged = {
            "flip": bytes(flipped),
            "cut": content[:a],
            "zero": content[:a] + bytes(b - a) + content[b:],
            "insert": content[:a] + noise + content[a:],
            "drop": content[:a] + content[b:],
            "swap": content[:a] + content[b:c] + content[a:b] + content[c:],
            "noise": content[:a] + rng.bytes(int(b - a)) + content[b:],
            "append": content + noise,
        }[kind]
        if damaged != content:
            count -= 1
            yield damaged


def assert_seen(dataset, path, damaged):
    """Refused in a line that names the file and a remedy, or the very same content."""
    path.unlink()
    path.write_bytes(damaged)
    try:
        loaded = dataset.load()
    except DatasetError as error:
        message = message_of(error)
        assert message.startswith((f"{path}: ", f"{path.with_suffix('')}: "))
        assert "run" in message
        assert "Error" not in message
    else:  # JSON, read as values: a space more is not another value
        assert path.suffix == ".json"
        pd.testing.assert_frame_equal(loaded, TABLE)
        assert loaded.attrs == RESULT.attrs


def test_2000_mutations_of_each_kind_of_file_are_seen(kept):
    dataset, path = kept
    for damaged in mutations(path.read_bytes(), 2000):
        assert_seen(dataset, path, damaged)


def test_every_byte_counts(kept):
    dataset, path = kept
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 500)):
        flipped = bytearray(content)
        flipped[place] ^= 16
        assert_seen(dataset, path, bytes(flipped))


# What a damaged file stops


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the last number of a tensor
    path.write_bytes(content)


def test_a_damaged_checkpoint_says_what_going_on_without_it_costs(tmp_path):
    newest = CheckpointDataset(str(tmp_path / "maml.safetensors"))
    own = EarlierCheckpointsDataset(str(tmp_path / "maml.safetensors")).load().own
    newest.save(checkpoint(5, rounds=5))
    newest.save(checkpoint(9, rounds=9))
    for rounds, then in [(9, "from round 5"), (5, "over")]:
        path = tmp_path / f"maml-{KEPT[:12]}-{rounds}.safetensors"
        alter(path)
        with pytest.raises(DataError) as error:
            own(KEPT, 9)
        assert str(error.value) == (
            f"{path}: damaged: its content is not that of its checksum; move it away"
            f" and run again: training starts {then}"
        )
        path.unlink()
    assert own(KEPT, 9) is None


def test_the_newest_checkpoint_is_named_by_the_file_to_move_away(tmp_path):
    newest = CheckpointDataset(str(tmp_path / "maml.safetensors"))
    newest.save(checkpoint(5))
    alter(tmp_path / f"maml-{KEPT[:12]}-9.safetensors")
    with pytest.raises(
        DatasetError, match=rf"maml-{KEPT[:12]}-9\.safetensors: damaged"
    ):
        newest.load()


def test_a_damaged_checkpoint_of_another_division_is_done_without(tmp_path, caplog):
    for folder in ("one", "two"):
        path = tmp_path / folder / "fedavg.safetensors"
        CheckpointDataset(str(path)).save(checkpoint(9, shared="s"))
    alter(tmp_path / "one" / f"fedavg-{KEPT[:12]}-9.safetensors")
    path = tmp_path / "three" / "fedavg.safetensors"
    found = [*EarlierCheckpointsDataset(str(path)).load().alike("s", 9)]
    assert [kept.state.round for kept in found] == [9]
    (warning,) = caplog.messages
    assert warning.startswith(f"{tmp_path}/one/fedavg-{KEPT[:12]}-9.safetensors: dam")


def test_tensors_are_the_same_bytes_every_time(tmp_path):
    """Of a sweep's cells, those may run at once whose data files are the same."""
    contents = set()
    for number in range(4):
        path = tmp_path / f"{number}"
        CodebookDataset(str(path)).save(Codebook(VECTORS, "note"))
        contents.add(path.read_bytes())
    assert len(contents) == 1
