"""Raw files are packed again when they, their options or their parser change."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from fedmeta import datasets, identity
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed, write_packed
from fedmeta.datasets import PackedDataset
from fedmeta.pipelines.ingestion.nodes import find_raw, pack
from fedmeta.pipelines.options import RawOptions

SAMPLES = {
    "femnist": {"writers": 3, "records_per_writer": [4, 6], "seed": 0},
    "shakespeare": {"plays": 1, "roles_per_play": 3, "seed": 0},
}


NEEDED = {  # by the parser
    "table": {"client": "user", "label": "y"},
    "sent140": {"lowercase": True},
    "recommendation": {"user": "user", "time": "time", "service": "service"},
}


class Packing:
    """One benchmark's sample, and the file that it is packed into."""

    def __init__(self, name, folder):
        self.name, self.benchmark = name, BENCHMARKS[name]
        self.path = folder / f"{name}.arrow"
        self.raw = RawOptions(folder=str(folder / name), sample=SAMPLES[name])

    def run(self):
        """Whether it was packed by this run of ingestion."""
        before = self.path.stat().st_mtime_ns if self.path.exists() else None
        files = find_raw(self.benchmark, self.raw)
        PackedDataset(str(self.path)).save(pack(self.benchmark, self.raw, files))
        return self.path.stat().st_mtime_ns != before


@pytest.fixture(params=SAMPLES)
def packing(request, tmp_path):
    made = Packing(request.param, tmp_path)
    assert made.run()
    return made


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO, "fedmeta.datasets")
    return caplog


def test_the_same_sample_is_not_packed_again(packing, said):
    """Nor are its raw files read, which may take long."""

    def unread(*_, **__):
        raise AssertionError("raw files were read")

    parse = packing.benchmark.parse
    for name in ("__wrapped__", "__module__", "__qualname__"):
        setattr(unread, name, getattr(parse, name, parse))
    packing.benchmark = packing.benchmark._replace(parse=unread)
    assert not packing.run()
    assert not [r for r in said.records if r.name == "fedmeta.datasets"]


def test_a_sample_is_drawn_into_an_empty_folder(packing):
    """As a run that was killed leaves it."""
    shutil.rmtree(packing.raw.folder)
    Path(packing.raw.folder).mkdir()
    packing.run()
    assert any(Path(packing.raw.folder).iterdir())


def test_of_a_larger_sample_nothing_stays(tmp_path):
    def drawn(writers):
        sample = {"writers": writers, "records_per_writer": [1, 2]}
        raw = RawOptions(folder=str(tmp_path), sample=sample)
        return find_raw(BENCHMARKS["femnist"], raw)

    assert len(drawn(101)) == 2
    assert len(drawn(3)) == 1


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("place", ["folder", "file"])
def test_no_sample_is_drawn_over_what_is_ones_own(name, place, tmp_path):
    """Say of who forgets --env, in the folder of real data."""
    benchmark, given = BENCHMARKS[name], {"sample": {}, **NEEDED.get(name, {})}
    drawn = RawOptions(folder=str(tmp_path / "drawn"), **given)
    made = find_raw(benchmark, drawn)[0]
    own = tmp_path / "own" / Path(made).relative_to(tmp_path / "drawn")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"of years of work")
    folder = tmp_path / "own" if place == "folder" else own
    with pytest.raises(ValueError, match="is not, or no more, a generated") as error:
        find_raw(benchmark, RawOptions(folder=str(folder), **given))
    assert str(own) in str(error.value)
    assert [p for p in (tmp_path / "own").rglob("*") if p.is_file()] == [own]
    assert own.read_bytes() == b"of years of work"


def test_no_sample_is_drawn_beside_what_can_be_read(tmp_path, packing):
    raw = Path(packing.raw.folder)
    (shard,) = raw.glob("[!.]*")
    real = shard.read_text().replace("synthetic", "genuine").replace("SYNTHETIC", "")
    shard.rename(tmp_path / "drawn")
    (raw / f"mine{shard.suffix}").write_text(real)
    with pytest.raises(ValueError, match=f"mine{shard.suffix}: is not, or no more"):
        packing.run()
    assert not shard.exists()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_link_to_nothing_is_no_smaller_data_set(name, tmp_path):
    """As in a cache of the hub whose blobs are on another disk."""
    benchmark = BENCHMARKS[name]
    made = benchmark.write_sample(tmp_path)
    lost = made[-1].with_name(f"another-{made[-1].name}")
    lost.symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=rf"{lost}: a link to .*gone, .*; bring it ba"):
        benchmark.find_raw(tmp_path)
    hidden = lost.rename(lost.with_name(f".#{lost.name}"))  # a lock of Emacs
    assert hidden not in benchmark.find_raw(tmp_path)


def test_another_sample_is(packing, said):
    checksum = read_packed(packing.path).checksum
    packing.raw = packing.raw.model_copy(
        update={"sample": {**packing.raw.sample, "seed": 1}}
    )
    assert packing.run()
    assert read_packed(packing.path).checksum != checksum
    assert "packed with other data (raw_files); packing it again" in said.text


def test_another_parser_is(packing, said, monkeypatch):
    code = identity.code(packing.benchmark.parse)
    name = f"code.benchmarks.{packing.name}.parse"
    monkeypatch.setitem(identity.EQUIVALENT, code[name], "changed")
    checksum = read_packed(packing.path).checksum
    assert packing.run()
    assert f"packed with other code (benchmarks/{packing.name}/parse.py)" in said.text
    assert read_packed(packing.path).checksum == checksum  # so nothing trains again
    assert not packing.run()


def test_what_all_parsers_use_concerns_all(packing, monkeypatch):
    code = identity.code(packing.benchmark.parse)
    monkeypatch.setitem(identity.EQUIVALENT, code["code.data.leaf"], "changed")
    assert packing.run()


def test_other_code_does_not(packing, monkeypatch):
    for other in set(BENCHMARKS) - {packing.name}:
        own = identity.code(BENCHMARKS[other].parse)
        name = f"code.benchmarks.{other}.parse"
        monkeypatch.setitem(identity.EQUIVALENT, own[name], "changed")
    model = identity.code(packing.benchmark.model, "pipelines.training.nodes")
    own = identity.code(packing.benchmark.parse)
    for name in model.keys() - own.keys():
        monkeypatch.setitem(identity.EQUIVALENT, model[name], "changed")
    assert not packing.run()


def test_data_of_an_earlier_version_are_told(packing, said):
    held = read_packed(packing.path)
    clients = [
        datasets.ClientRecords(name, held.columns(name)) for name in held.client_ids
    ]
    metadata = {k: v for k, v in held.metadata.items() if k != "settings"}
    write_packed(packing.path, clients, metadata)
    assert packing.run()
    assert "packed by an earlier version of this project; packing" in said.text
    assert json.loads(read_packed(packing.path).metadata["settings"])
