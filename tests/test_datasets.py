"""Artefacts are there whole or not at all, and come back as they were."""

import errno
import json
import os
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DatasetError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fedmeta import checkpoints
from fedmeta.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from fedmeta.core.types import ServerState
from fedmeta.data import files, tensors
from fedmeta.data.federated import ClientRecords
from fedmeta.data.files import remove_leftovers, whole_path, write_private
from fedmeta.datasets import (
    AtomicCSVDataset,
    AtomicJSONDataset,
    AtomicParquetDataset,
    AtomicTextDataset,
    CheckpointDataset,
    EarlierCheckpointsDataset,
    PackedDataset,
    PackedSource,
    ResultDataset,
)

FRAME = pd.DataFrame({"round": [0, 5], "loss": [float("nan"), 0.1 + 0.2]})
HISTORY = {
    "maml": pd.DataFrame(
        {
            "round": [0, 5],
            "train_loss": [float("nan"), 1 / 3],
            "flops": [0, 2**60],
        }
    )
}


VALIDATION = {
    "maml": pd.DataFrame(
        {
            "round": [0, 0, 5],
            "client_id": ["zoë", "/", "zoë"],
            "num_query": [3, 2**40, 3],
            "loss_sum_after": [float("nan"), 1 / 3, 2.0],
        }
    ),
    "fedavg p0.5": pd.DataFrame({"client_id": ["b", "/"], "num_query": [1, 0]}),
}


def checkpoint(seed=0, number=5) -> Checkpoint:
    generator = torch.Generator().manual_seed(number)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    theta = {"conv.weight": draw(3, 2, 2, 2), "bias": draw(2)}
    # as a channels-last gradient leaves it behind
    theta["conv.weight"] = theta["conv.weight"].to(memory_format=torch.channels_last)
    moments = {
        "mean": {"theta": {"conv.weight": draw(3, 2, 2, 2), "bias": draw(2)}},
        "step": {
            "theta": {"conv.weight": torch.tensor(5.0), "bias": torch.tensor(5.0)}
        },
    }
    state = ServerState({"theta": theta}, moments, number)
    return Checkpoint({"training.seed": seed}, state, HISTORY, 5, validation=VALIDATION)


def assert_same_trees(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_same_trees(a[name], b[name])
    else:
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def assert_same(a: Checkpoint, b: Checkpoint):
    assert a.fingerprint == b.fingerprint
    assert a.state.round == b.state.round
    assert_same_trees(a.state.meta, b.state.meta)
    assert_same_trees(a.state.opt_state, b.state.opt_state)
    for ours, other in ((a.history, b.history), (a.validation, b.validation)):
        assert ours.keys() == other.keys()
        for name, frame in ours.items():
            pd.testing.assert_frame_equal(frame, other[name], check_exact=True)


# Atomic files


def test_atomic_replaces_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with whole_path(path) as temporary:
        temporary.write_text("old")
        assert not path.exists()
    with whole_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_private_file_is_its_owners_alone_from_its_first_byte_on(
    tmp_path, monkeypatch
):
    path = tmp_path / "key"
    path.write_text("old")
    write, modes = type(path).write_bytes, []

    def noted(file, content):
        modes.append(file.stat().st_mode & 0o777)
        write(file, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(path), "write_bytes", noted)
        write_private(path, b"half of the n")
    assert path.read_text() == "old"
    write_private(path, b"new")
    assert path.read_text() == "new"
    assert [*modes, path.stat().st_mode & 0o777] == [0o600, 0o600]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_atomic_leaves_the_old_file_and_no_litter(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_stop_while_waiting_to_write_leaves_no_litter(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    free, taken = tmp_path / "a.txt", tmp_path / "b.txt"
    with whole_path(taken) as temporary:
        temporary.write_text("another's")
        monkeypatch.setattr(files.FileLock, "acquire", stopped)
        for path in (free, taken):
            with pytest.raises(KeyboardInterrupt), whole_path(path):
                pass
    assert taken.read_text() == "another's"
    assert list(tmp_path.iterdir()) == [taken]


@pytest.mark.parametrize("step", ["unlink", "rmdir"])
def test_a_stop_while_tidying_leaves_no_litter(tmp_path, monkeypatch, step):
    genuine, stops = getattr(Path, step), [KeyboardInterrupt()]

    def stopped_once(path, *args, **kwargs):
        if stops:
            raise stops.pop()
        return genuine(path, *args, **kwargs)

    path = tmp_path / "a.txt"
    with pytest.raises(KeyboardInterrupt), whole_path(path) as temporary:
        temporary.write_text("whole")
        monkeypatch.setattr(Path, step, stopped_once)
    assert not stops
    assert list(tmp_path.iterdir()) == [path]


def test_files_can_be_read_by_those_who_may_read_new_files(tmp_path):
    """Not the mode of temporary files, which is their owner's alone."""
    with whole_path(tmp_path / "a") as temporary:
        temporary.write_text("a")
    (tmp_path / "b").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"]
    assert modes[0] == modes[1]


def killed_in_writing(path, text="half", link=None):
    """Another process is killed in the middle of writing."""
    child = os.fork()
    if child == 0:
        with whole_path(path) as temporary:
            temporary.write_text(text)
            if link is not None:
                temporary.unlink()
                temporary.symlink_to(link)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("link", [None, "b.txt"])
def test_what_a_killed_process_left_is_taken_over(tmp_path, link):
    path = tmp_path / "a.txt"
    killed_in_writing(path, link=link)
    assert [left.name for left in tmp_path.iterdir()] == [".a.txt.partial"]
    with whole_path(path) as temporary:
        assert temporary.read_text() == ""
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_removed_but_for_those_of_processes_at_work(tmp_path):
    killed_in_writing(tmp_path / "models" / "a.txt")
    download = tmp_path / ".tweets.zip.partial"  # to be gone on with
    download.write_text("half")
    at_work = tmp_path / "b.txt"
    (tmp_path / ".c.txt.partial").mkdir()  # killed just before it was removed
    with whole_path(at_work) as temporary:
        temporary.write_text("mine")
        remove_leftovers(tmp_path)
        assert temporary.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        download.name,
        "b.txt",
        "models",
    ]


def test_two_that_write_the_same_file_take_turns(tmp_path):
    """As two equal runs at once: none gets the other's half into its own."""
    path, seen = tmp_path / "a.txt", []

    def write(text):
        for _ in range(30):
            with whole_path(path) as temporary:
                temporary.write_text(text)
                time.sleep(0.001)
                seen.append(temporary.read_text() == text)

    threads = [threading.Thread(target=write, args=[c * 9]) for c in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 60
    assert list(tmp_path.iterdir()) == [path]


DATASETS = {
    "csv": (AtomicCSVDataset, {"save_args": {"index": False}}, FRAME),
    "result": (ResultDataset, {"save_args": {"index": False}}, FRAME),
    "parquet": (AtomicParquetDataset, {}, FRAME),
    "json": (AtomicJSONDataset, {}, {"train": ["a", "b"], "checksum": "c"}),
    "list": (AtomicJSONDataset, {}, ["a.json", "b.json"]),
    "text": (AtomicTextDataset, {}, "a page"),
}


@pytest.fixture(params=DATASETS)
def kept(request, tmp_path):
    """A dataset that has been saved once, its path and what it holds."""
    kind, options, data = DATASETS[request.param]
    path = tmp_path / f"a.{request.param}"
    dataset = kind(filepath=str(path), **options)
    dataset.save(data)
    return dataset, path, data


def assert_holds(dataset, path, data):
    loaded = dataset.load()
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(loaded, data)
    else:
        assert loaded == data
    beside = [path.with_suffix(".json")] if isinstance(dataset, ResultDataset) else []
    assert sorted(path.parent.iterdir()) == [*beside, path]  # nothing half-written


def test_round_trip(kept):
    assert_holds(*kept)


FULL = "no space left on the disk; free some and run again"


def test_full_disk_while_a_table_is_written(kept, monkeypatch):
    dataset, path, data = kept

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=FULL) as error:
        dataset.save(data)
    assert f"{path.with_suffix('')}." in str(error.value)
    assert_holds(dataset, path, data)


def test_failure_in_the_middle_of_a_table(tmp_path):
    class Bad:
        def __str__(self):
            raise RuntimeError("in the middle")

    path = tmp_path / "a.csv"
    dataset = AtomicCSVDataset(filepath=str(path), save_args={"index": False})
    dataset.save(FRAME)
    rows = pd.DataFrame({"a": [1.0] * 10_000 + [Bad()]}, dtype=object)
    with pytest.raises(DatasetError):
        dataset.save(rows)
    assert_holds(dataset, path, FRAME)


def test_prepared_data_keep_what_they_were_made_with(tmp_path):
    dataset = AtomicParquetDataset(filepath=str(tmp_path / "clients.parquet"))
    table = FRAME.copy()
    table.attrs = {"settings": {"selection.seed": 0}}
    dataset.save(table)
    assert dataset.load().attrs == table.attrs


# Checkpoints


def test_checkpoints_come_back_bit_equal(tmp_path):
    path = tmp_path / "maml.safetensors"
    write_checkpoint(path, checkpoint())
    assert_same(read_checkpoint(path), checkpoint())


def test_a_server_without_state(tmp_path):
    path = tmp_path / "fedavg.safetensors"
    plain = checkpoint()
    plain = plain._replace(state=plain.state._replace(opt_state={}))
    write_checkpoint(path, plain)
    assert_same(read_checkpoint(path), plain)


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_truncated_checkpoint(tmp_path, left):
    path = tmp_path / "maml.safetensors"
    write_checkpoint(path, checkpoint())
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match="move it away and run again") as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_foreign_checkpoint(tmp_path):
    path = tmp_path / "maml.safetensors"
    path.write_text("not a checkpoint at all")
    with pytest.raises(ValueError, match="not a whole checkpoint file"):
        read_checkpoint(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="not a whole checkpoint file"):
        read_checkpoint(path)


def test_full_disk_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    path = tmp_path / "maml.safetensors"
    dataset = CheckpointDataset(str(path))
    dataset.save(checkpoint())
    before = sorted(file.name for file in tmp_path.iterdir())

    def full(tensors, target, metadata):
        target.write_bytes(b"half of a checkp")
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(DatasetError, match=FULL):
        dataset.save(checkpoint(number=6))
    assert sorted(file.name for file in tmp_path.iterdir()) == before
    assert_same(dataset.load(), checkpoint())


@pytest.fixture
def tiny_disk(tmp_path):
    """A folder on a disk of 256 KiB; only root can make one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tiny_disk):
    path = tiny_disk / "maml.safetensors"
    models = CheckpointDataset(str(path))
    models.save(checkpoint())
    large = ServerState({"theta": {"w": torch.ones(100_000)}}, {}, 6)
    with pytest.raises(DatasetError, match=FULL):
        models.save(checkpoint()._replace(state=large))
    assert_same(models.load(), checkpoint())

    frame = pd.DataFrame({"a": np.random.default_rng(0).random(50_000)})
    for kind in (AtomicCSVDataset, AtomicParquetDataset):
        table = kind(filepath=str(tiny_disk / "table"))
        table.save(frame[:5])
        with pytest.raises(DatasetError, match=FULL):
            table.save(frame)
        assert len(table.load()) == 5

    records = PackedDataset(str(tiny_disk / "records.arrow"))
    records.save(source("one"))
    many = (
        ClientRecords(f"c{i}", {"label": np.zeros(100_000, np.uint8)}) for i in range(9)
    )
    with pytest.raises(DatasetError, match=FULL):
        records.save(PackedSource(lambda: (many, {}), {"data.raw_files": "two"}))
    assert labels(records) == [0, 0, 0]
    assert not [file for file in tiny_disk.iterdir() if file.name.startswith(".")]


def test_earlier_checkpoints_by_fingerprint(tmp_path):
    path = tmp_path / "maml.safetensors"
    newest, earlier = CheckpointDataset(str(path)), EarlierCheckpointsDataset(str(path))
    assert not newest.exists()
    assert earlier.exists()
    one, two, three = (checkpoint(seed).fingerprint for seed in (1, 2, 3))
    assert earlier.load().own(one, 9) is None
    newest.save(checkpoint(1, 5))
    newest.save(checkpoint(2, 2))
    newest.save(checkpoint(2, 3))
    assert newest.exists()
    assert_same(newest.load(), checkpoint(2, 3))
    assert_same(earlier.load().own(one, 9), checkpoint(1, 5))
    assert_same(earlier.load().own(two, 9), checkpoint(2, 3))
    assert earlier.load().own(three, 9) is None
    assert len(list(tmp_path.iterdir())) == 3  # two files and the link
    with pytest.raises(DatasetError, match="written by the training alone"):
        earlier.save(1)


def test_damaged_earlier_checkpoint_is_not_taken_for_none(tmp_path):
    path = tmp_path / "maml.safetensors"
    CheckpointDataset(str(path)).save(checkpoint())
    path.resolve().write_bytes(b"")
    with pytest.raises(ValueError, match="move it away and run again"):
        EarlierCheckpointsDataset(str(path)).load().own(checkpoint().fingerprint, 9)


def test_earlier_checkpoints_of_other_settings_and_versions_are_told(tmp_path):
    path = tmp_path / "maml.safetensors"
    others = EarlierCheckpointsDataset(str(path)).load().others
    assert list(others()) == []
    CheckpointDataset(str(path)).save(checkpoint(1, 3))
    header = {"fingerprint": "b", "round": "2", "rounds": "5", "history": "{}"}
    old = tmp_path / "maml-bbbbbbbbbbbb-5.safetensors"
    save_file({"w": torch.ones(2)}, old, metadata=header)
    known = {"training.seed": 1, "training.rounds": 3}
    assert sorted(others(), key=len) == [{}, known]
    with pytest.raises(ValueError, match="an earlier version.* move it away"):
        read_checkpoint(old)


def test_a_checkpoint_without_validation_scores_is_of_an_earlier_version(
    tmp_path, monkeypatch
):
    path = tmp_path / "maml-bbbbbbbbbbbb-5.safetensors"
    write = checkpoints.write_tensors

    def earlier(path, kind, tensors, header):
        del header["validation"]
        write(path, kind, tensors, header)

    monkeypatch.setattr(checkpoints, "write_tensors", earlier)
    write_checkpoint(path, checkpoint()._replace(validation={}))
    said = f"{path}: written by an earlier version .* move it away and run again"
    with pytest.raises(ValueError, match=said):
        read_checkpoint(path)
    (held,) = (
        EarlierCheckpointsDataset(str(tmp_path / "maml.safetensors")).load().others()
    )
    assert held == {}


def test_the_machine_is_recorded_and_decides_nothing(tmp_path, monkeypatch):
    path = tmp_path / "maml.safetensors"
    write_checkpoint(path, checkpoint())
    with safe_open(path, framework="pt") as file:
        _, header = json.loads(file.metadata()["header"])
    assert header["environment"]["torch"]
    before = checkpoint().fingerprint
    monkeypatch.setattr(checkpoints.identity, "environment", lambda: {"torch": "9"})
    write_checkpoint(path, checkpoint())
    assert read_checkpoint(path).fingerprint == before


# Packed data


def source(files, value=0):
    def clients():
        for name in ("ann", "bob"):
            yield ClientRecords(name, {"label": np.full(3, value, np.uint8)})

    packed = clients(), {"synthetic": "true"}
    return PackedSource(lambda: packed, {"data.raw_files": files})


def labels(dataset):
    return dataset.load().columns("ann")["label"].tolist()


def test_packed_again_only_when_raw_files_change(tmp_path):
    path = tmp_path / "records.arrow"
    dataset = PackedDataset(str(path))
    assert not dataset.exists()
    dataset.save(source("one"))
    assert dataset.exists()
    written = path.stat().st_mtime_ns

    same = source("one", value=7)
    dataset.save(same)
    assert path.stat().st_mtime_ns == written
    assert next(same.read()[0]).client_id == "ann"  # not one client was read
    dataset.save(source("two", value=7))
    assert labels(dataset) == [7, 7, 7]


@pytest.mark.parametrize("damage", ["cut short", "altered", "of an earlier version"])
def test_a_damaged_packed_file_is_packed_again(tmp_path, caplog, damage):
    path = tmp_path / "records.arrow"
    dataset = PackedDataset(str(path))
    dataset.save(source("one"))
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut short": whole[:100],
            "altered": whole.replace(b"ann", b"amn"),
            "of an earlier version": whole.replace(b"sealed", b"marked"),
        }[damage]
    )
    dataset.save(source("one", value=7))
    assert labels(dataset) == [7, 7, 7]
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 1
    assert said[0].startswith(f"{path}: ")
    assert said[0].endswith("; packing it again from the raw files")


def test_packing_that_fails_keeps_the_old_file(tmp_path):
    dataset = PackedDataset(str(tmp_path / "records.arrow"))
    dataset.save(source("one"))

    def failing():
        yield ClientRecords("ann", {"label": np.full(3, 7, np.uint8)})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.save(PackedSource(lambda: (failing(), {}), {"data.raw_files": "two"}))
    assert labels(dataset) == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 1


# Results


def result(folder):
    path = folder / "maml_scores.csv"
    dataset = ResultDataset(filepath=str(path), save_args={"index": False})
    frame = FRAME.copy()
    frame.attrs = {"settings": {"training.rounds": 5, "maml.inner_lr": 0.1}}
    dataset.save(frame)
    return dataset, path, frame


def test_results_keep_what_they_were_made_with(tmp_path):
    dataset, path, frame = result(tmp_path)
    assert dataset.load().attrs == frame.attrs
    assert pd.read_csv(path).columns.tolist() == ["round", "loss"]  # plain CSV
    pd.testing.assert_frame_equal(dataset.load(), frame, check_exact=True)


@pytest.mark.parametrize("damage", ["edited", "missing", "no JSON", "a list"])
def test_results_whose_origin_is_not_known_are_refused(tmp_path, damage):
    dataset, path, _ = result(tmp_path)
    if damage == "edited":
        path.write_text(path.read_text().replace("5", "6"))
    elif damage == "missing":
        path.with_suffix(".json").unlink()
    else:
        path.with_suffix(".json").write_text("{" if damage == "no JSON" else "[]")
    with pytest.raises(DatasetError, match=r"maml_scores\.csv.* run the pipeline"):
        dataset.load()


@pytest.mark.parametrize("kind", [AtomicCSVDataset, ResultDataset])
def test_a_name_from_outside_is_no_formula(tmp_path, kind):
    dataset = kind(filepath=str(tmp_path / "a.csv"), save_args={"index": False})
    table = pd.DataFrame({"client_id": ["=1+1", "007", "NA"], "loss": [-1.5, 2, None]})
    dataset.save(table)
    assert "'=1+1,-1.5" in (tmp_path / "a.csv").read_text()
    pd.testing.assert_frame_equal(dataset.load(), table)
    assert dataset.preview(1)["data"][0][0] == "=1+1"
