"""Fetch the public FEMNIST with writer ids and write it as LEAF's JSON shards.

`python -m fedmeta.benchmarks.femnist.fetch [FOLDER]` downloads some 200 MB of Parquet
from the Hugging Face hub and writes about 4 GB of JSON. The copy of Flower Labs has
LEAF's images and LEAF's order of labels, and not its doubled first samples; its card
counts 814,277 records. The environment variable HF_ENDPOINT names another server.

The commit on the hub and the files' SHA-256 are written down, and a later fetch into
the folder is held to them; `--revision` and `--sha256` give them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import HfApi, hf_hub_download
from PIL import Image

from fedmeta.benchmarks.femnist.shards import CHARACTERS, CLIENTS_A_SHARD, write_shard
from fedmeta.data.errors import DataError
from fedmeta.data.files import file_sha256, raw_files
from fedmeta.data.origin import check_origin, record_origin, recorded, secure

REPOSITORY = "flwrlabs/femnist"
FOLDER = Path("data/01_raw/femnist")
COLUMNS = ("image", "writer_id", "character")
AFRESH = "fetch it afresh, with HF_HOME naming a folder that is empty"


def fetch_femnist(
    out_dir: str | Path = FOLDER,
    repo_id: str = REPOSITORY,
    endpoint: str | None = None,
    revision: str | None = None,
    sha256: str | None = None,
) -> list[Path]:
    """Download FEMNIST and write LEAF shards of 100 writers.

    The shards are written in a folder beside `out_dir` and moved in together at the
    end, so an interrupted run never looks like a smaller data set; what was
    downloaded stays in the hub's cache and is not downloaded again.

    Args:
        out_dir: must have no JSON files yet.
        repo_id: a data set of the hub with the columns `image` (PNG), `writer_id`
            and `character`.
        endpoint: address of a server; None for HF_ENDPOINT or the public hub.
        revision: a commit, a branch or a tag; None: the commit of an earlier fetch into
            the folder, or else the newest.
        sha256: of the Parquet files' names and SHA-256, as an earlier fetch has it.

    Returns:
        The shards.

    Raises:
        DataError: when there are files already, nothing can be fetched or the files
            have another form.
    """
    out_dir = Path(out_dir)
    if raw_files(out_dir, ".json"):
        raise DataError(f"{out_dir}: has JSON files already; move them or name another")
    source = f"huggingface.co/datasets/{repo_id}"
    wanted = revision or recorded(out_dir, source).get("revision")
    tables, commit = _download(repo_id, endpoint, wanted)
    found = {"revision": commit, "sha256": _checksum(tables)}
    given = {"revision": revision and commit, "sha256": sha256}
    check_origin(out_dir, source, found, given)
    partial = out_dir.with_name(f".{out_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        shards = write_leaf_shards(list(tables.values()), partial, source)
        names = [shard.name for shard in shards]
        out_dir.mkdir(exist_ok=True)
        for name in names:
            os.replace(partial / name, out_dir / name)
        record_origin(out_dir, source, found)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [out_dir / name for name in names]


def write_leaf_shards(
    tables: Sequence[Path], out_dir: Path, source: str
) -> Iterator[Path]:
    """Turn Parquet files of labelled images into LEAF shards, writer by writer.

    Memory holds the compressed images of all writers, some 400 MB.
    """
    records = pd.concat([_read(path) for path in tables])
    writers = [*records.groupby("writer_id", sort=False)]
    for number, first in enumerate(range(0, len(writers), CLIENTS_A_SHARD)):
        clients = {
            name: (_pixels(own["image"], name), own["label"].to_numpy())
            for name, own in writers[first : first + CLIENTS_A_SHARD]
        }
        path = out_dir / f"all_data_{number}.json"
        write_shard(path, clients, source=source)
        yield path


def _download(
    repo_id: str, endpoint: str | None, revision: str | None
) -> tuple[dict[str, Path], str]:
    """The Parquet files of a data set by name, in the hub's cache, and their commit."""
    secure(endpoint or HfApi().endpoint)
    try:
        info = HfApi(endpoint).dataset_info(repo_id, revision=revision)
        names = [file.rfilename for file in info.siblings or ()]
        tables = {
            name: Path(
                hf_hub_download(
                    repo_id,
                    name,
                    repo_type="dataset",
                    revision=info.sha,
                    endpoint=endpoint,
                )
            )
            for name in sorted(names)
            if name.endswith(".parquet")
        }
    # The client passes on the errors of its HTTP library, which has changed before.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{repo_id}: could not be fetched from {endpoint or 'the hub'} ({reason}); "
            "check the network or HF_ENDPOINT, or copy LEAF's files by hand"
        ) from error
    if not tables:
        raise DataError(f"{repo_id}: has no Parquet files; name another data set")
    return tables, info.sha


def _checksum(tables: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in tables.items():
        digest.update(f"{name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _read(path: Path) -> pd.DataFrame:
    """`image` (the bytes of a PNG), `writer_id` and LEAF's `label` of all records."""
    try:
        with pq.ParquetFile(path) as file:
            missing = sorted(set(COLUMNS) - set(file.schema_arrow.names))
            if missing:
                raise DataError(
                    f"{path}: no column {missing[0]!r}; expected {', '.join(COLUMNS)}: "
                    "name a data set of that form"
                )
            table = file.read(list(COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file; {AFRESH}") from error
    leaf_labels = _leaf_labels(table.schema, path)
    records = pd.DataFrame(
        {
            "image": pc.struct_field(table["image"], "bytes").to_pylist(),
            "writer_id": table["writer_id"].to_pylist(),
            "label": table["character"].to_pylist(),
        }
    )
    if records["writer_id"].isna().any():
        row = int(records["writer_id"].isna().argmax())
        raise DataError(f"{path}: row {row} has no writer_id: name another data set")
    known = records["label"].isin(range(len(leaf_labels)))
    if not known.all():
        row = int(known.argmin())
        raise DataError(
            f"{path}: client {records['writer_id'][row]!r}: row {row} has the label "
            f"{records['label'][row]}; expected 0..{len(leaf_labels) - 1}: name "
            "another data set"
        )
    return records.assign(label=np.array(leaf_labels)[records["label"]])


def _leaf_labels(schema: pa.Schema, path: Path) -> list[int]:
    """The file's class number -> LEAF's; by the names of the classes when given."""
    metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(metadata).get("info", {}).get("features", {})
    names = features.get("character", {}).get("names", list(CHARACTERS))
    if sorted(names) != sorted(CHARACTERS):
        raise DataError(
            f"{path}: {len(names)} classes, not the 62 characters of FEMNIST; name "
            "another data set"
        )
    return [CHARACTERS.index(name) for name in names]


def _pixels(images: Iterable[bytes], writer: str) -> np.ndarray:
    """uint8 [n, 784] of PNG images."""
    return np.stack([_decode(image, writer) for image in images])


def _decode(image: bytes, writer_id: str) -> np.ndarray:
    """[784] uint8 of a PNG."""
    try:
        with Image.open(io.BytesIO(image)) as picture:
            pixels = np.asarray(picture.convert("L"))
    except (OSError, TypeError) as error:
        raise DataError(
            f"client {writer_id!r}: an image that cannot be read ({error}); {AFRESH}"
        ) from error
    if pixels.shape != (28, 28):
        raise DataError(
            f"client {writer_id!r}: an image of {pixels.shape}; expected (28, 28): "
            "name another data set"
        )
    return pixels.reshape(-1)


def main() -> None:
    """Fetch FEMNIST into a folder and print the next step."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--repo", default=REPOSITORY, help="a data set of the hub")
    parser.add_argument("--revision", help="a commit, a branch or a tag of it")
    parser.add_argument("--sha256", help="of its files, as an earlier fetch has it")
    arguments = parser.parse_args()
    shards = fetch_femnist(
        arguments.folder,
        arguments.repo,
        revision=arguments.revision,
        sha256=arguments.sha256,
    )
    print(f"{len(shards)} files in {arguments.folder}")  # noqa: T201


if __name__ == "__main__":
    main()
