"""What trainings of each benchmark might have learned: small, and untrained."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from fedmeta import identity
from fedmeta.benchmarks.recommendation import features
from fedmeta.benchmarks.recommendation.parse import parse as parse_log
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.benchmarks.sent140.tokens import token_hash
from fedmeta.benchmarks.shakespeare.windows import character_codebook
from fedmeta.benchmarks.table.parse import parse as parse_table
from fedmeta.checkpoints import Checkpoint
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.core.types import ServerState
from fedmeta.data.encoding import Codebook, checksum
from fedmeta.data.federated import read_packed, write_packed
from fedmeta.serving.learned import Learned, learned_by

MODELS = {
    "femnist": {"channels": [2, 4], "hidden": 8},
    "shakespeare": {"embedding": 2, "hidden": 4, "layers": 1},
    "sent140": {"hidden": 4, "layers": 1, "dense": 4},
    "recommendation": {"hidden": 4},
    "table": {"hidden": [4]},
    "images": {"channels": [2, 4], "hidden": 8},
}
ALGORITHM = {"inner_lr": 0.5, "server": {"name": "sgd", "lr": 0.1}}


def _pixels(folder: Path) -> tuple[Codebook, dict[str, str]]:
    return BENCHMARKS["femnist"].codebook(None, None), {"synthetic": "true"}


def _characters(folder: Path) -> tuple[Codebook, dict[str, str]]:
    return character_codebook(None, None, vocabulary="leaf53"), {}


def _words(folder: Path) -> tuple[Codebook, dict[str, str]]:
    words = "what a lovely day i hate rain".split()
    hashes = np.sort(np.array([token_hash(word) for word in words]))
    vectors = torch.randn(len(words) + 1, 3, generator=torch.Generator().manual_seed(0))
    tables = {"hashes": torch.from_numpy(hashes), "vectors": vectors}
    return Codebook({**tables, "width": torch.tensor(3)}, ""), {"lowercase": "true"}


def _services(folder: Path) -> tuple[Codebook, dict[str, str]]:
    times = pd.date_range("2024-01-01", periods=60, freq="h").strftime("%FT%T")
    rows = [f"u,{t},{'abc'[i % 3]},{i % 7}" for i, t in enumerate(times)]
    (folder / "log.csv").write_text("\n".join(["user,time,service,battery", *rows]))
    clients, metadata = parse_log(
        [folder / "log.csv"],
        **{"user": "user", "time": "time", "service": "service"},
        context=["battery"],
    )
    write_packed(folder / "log.arrow", clients, metadata)
    records = read_packed(folder / "log.arrow")
    used = pd.DataFrame({"client_id": ["u"], "start": 0, "stop": 60})
    return features.codebook(records, used, recency=True), metadata


def _columns(folder: Path) -> tuple[Codebook, dict[str, str]]:
    rows = [f"u,{'ab'[i % 2]},{i},{'xyz'[i % 3]}" for i in range(12)]
    (folder / "rows.csv").write_text("\n".join(["who,what,size,kind", *rows]))
    clients, metadata = parse_table([folder / "rows.csv"], client="who", label="what")
    write_packed(folder / "rows.arrow", clients, metadata)
    records = read_packed(folder / "rows.arrow")
    used = pd.DataFrame({"client_id": ["u"], "start": 0, "stop": 12})
    return BENCHMARKS["table"].codebook(records, used), metadata


def _squares(folder: Path) -> tuple[Codebook, dict[str, str]]:
    for number in range(6):
        home = folder / "images" / "u" / "ab"[number % 2]
        home.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * number).save(home / f"{number}.png")
    files = BENCHMARKS["images"].find_raw(folder / "images")
    clients, metadata = BENCHMARKS["images"].parse(files, size=8)
    write_packed(folder / "images.arrow", clients, metadata)
    records = read_packed(folder / "images.arrow")
    used = pd.DataFrame({"client_id": ["u"], "start": 0, "stop": 6})
    return BENCHMARKS["images"].codebook(records, used), metadata


DATA: dict[str, Callable[[Path], tuple[Codebook, dict[str, str]]]] = {
    "femnist": _pixels,
    "shakespeare": _characters,
    "sent140": _words,
    "recommendation": _services,
    "table": _columns,
    "images": _squares,
}


def checkpoint_of(
    benchmark: str, folder: Path
) -> tuple[Checkpoint, Codebook, dict[str, str]]:
    """A finished training with MAML, its codebook and the metadata of its data."""
    entry = BENCHMARKS[benchmark]
    codebook, metadata = DATA[benchmark](folder)
    model = entry.model(**entry.encoding(codebook).sizes, **MODELS[benchmark])
    settings = identity.settings(
        model={**identity.named(entry.model), **MODELS[benchmark]},
        encoding=identity.named(entry.encoding),
        maml={**identity.named(ALGORITHMS["maml"].factory), **ALGORITHM},
        data={"codebook": checksum(codebook)},
    )
    state = ServerState({"theta": model.init(0)}, {}, 4)
    return Checkpoint(settings, state, {}, 4), codebook, metadata


def learned(benchmark: str, folder: Path) -> Learned:
    """The same, as it is served."""
    return learned_by("maml", *checkpoint_of(benchmark, folder))
