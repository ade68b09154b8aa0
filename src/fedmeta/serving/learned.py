"""What a run has learned by one algorithm, and the model that it makes.

The settings of a checkpoint name the functions and have all their options, so that
neither parameters files nor data are needed: what is served is what was trained.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fedmeta import identity
from fedmeta.benchmarks.benchmark import Benchmark
from fedmeta.benchmarks.registry import BENCHMARKS
from fedmeta.checkpoints import Checkpoint, flatten, unflatten
from fedmeta.core.algorithms import ALGORITHMS
from fedmeta.core.model import Model, own_model
from fedmeta.core.types import Algorithm, Batch, MetaParams
from fedmeta.data.encoding import Codebook, Encoding, checksum
from fedmeta.data.errors import DataError
from fedmeta.data.tensors import read_tensors, write_tensors
from fedmeta.data.user_records import TableForm, UserRecords
from fedmeta.identity import Settings
from fedmeta.options import build

CHUNK = 256  # records gone through at once: bounds memory
PARAMETERS, CODEBOOK = "parameters.safetensors", "codebook.safetensors"
KIND = "learned parameters"
REMEDY = "log or copy the model again"


class Learned(NamedTuple):
    """All that serving needs of a finished training."""

    algorithm: str  # whose block of options is used
    settings: Settings  # of the checkpoint
    metadata: Mapping[str, str]  # of the data that it was trained on
    codebook: Codebook
    meta: MetaParams


class Personaliser(NamedTuple):
    """A trained model that adapts to a user's records."""

    form: TableForm
    metadata: Mapping[str, str]
    codebook: Codebook
    encoding: Encoding
    model: Model
    algorithm: Algorithm
    meta: MetaParams

    def scores(self, records: UserRecords) -> np.ndarray:
        """float32 [q, classes] softmax of the model adapted to the support records.

        Raises:
            DataError: where adapting to it diverges.
        """
        # Shuffled as in training, so that the last batch is not the last days alone.
        support = np.random.default_rng(0).permutation(records.support)
        examples = self.encoding.examples
        learned_from = Batch(*examples(records.columns, support))
        adapted = self.algorithm.adapt(self.meta, learned_from)
        with torch.no_grad():
            own = own_model(self.algorithm, self.model, adapted, learned_from)
            parts = [
                own.apply(adapted, examples(records.columns, some)[0])
                for some in np.split(
                    records.query, range(CHUNK, len(records.query), CHUNK)
                )
            ]
            used = torch.cat(parts)[:, : len(records.classes)]
            scores = torch.softmax(used, dim=1)
        if not torch.isfinite(scores).all():
            raise DataError(
                "adapting to these records diverged; take another algorithm, or smaller"
                " steps in training"
            )
        return scores.numpy()


def learned_by(
    algorithm: str,
    checkpoint: Checkpoint,
    codebook: Codebook,
    metadata: Mapping[str, str],
) -> Learned:
    """What a checkpoint holds for an algorithm that it was trained for.

    Raises:
        ValueError: where the training diverged or is not finished, is not of this
            algorithm, or the codebook is of another training.
    """
    settings = checkpoint.settings
    if checkpoint.diverged is not None:
        raise ValueError(f"the training of {algorithm} {checkpoint.diverged}")
    if checkpoint.state.round < checkpoint.rounds:
        raise ValueError(
            f"{algorithm} was trained for {checkpoint.state.round:,} of"
            f" {checkpoint.rounds:,} rounds"
        )
    found = {"data.codebook": checksum(codebook)}
    if names := identity.conflicts(settings, found):
        raise ValueError(
            f"{algorithm} was trained with {identity.in_words(names, settings, found)}"
        )
    meta = checkpoint.learned
    return Learned(algorithm, settings, dict(metadata), codebook, meta)


def build_personaliser(learned: Learned) -> Personaliser:
    """The model, as its training built it.

    Raises:
        ValueError: for settings that name no model, encoding or algorithm of today, and
            for parameters of another model.
    """
    settings, name = learned.settings, learned.algorithm
    benchmark, form = _benchmark(settings)
    encoding = benchmark.encoding(learned.codebook)
    network = build(
        partial(benchmark.model, **encoding.sizes), _options(settings, "model"), "model"
    )
    factory = _factory(settings, name)
    options = {"chunk": CHUNK, **_options(settings, name)}
    algorithm = build(factory, options, name, network.loss)
    _check_shapes(name, algorithm.init(network.init(0)).meta, learned.meta)
    return Personaliser(
        form,
        learned.metadata,
        learned.codebook,
        encoding,
        network,
        algorithm,
        learned.meta,
    )


def write_learned(
    folder: Path, learned: Learned, codebook_file: Path | None = None
) -> None:
    """Write it as safetensors files, whose headers are JSON: there is no code in them.

    Args:
        folder: that they are written into.
        learned: what is written.
        codebook_file: the codebook's own file, to be referred to; None: write it too.
    """
    place = "" if codebook_file is None else str(codebook_file.resolve())
    header = [learned.algorithm, learned.settings, learned.metadata, place]
    write_tensors(folder / PARAMETERS, KIND, dict(flatten(learned.meta)), header)
    if codebook_file is None:
        tables, note, settings = learned.codebook
        about = {"note": note, "settings": settings}
        write_tensors(folder / CODEBOOK, "codebook", tables, about)


def read_learned(folder: Path) -> Learned:
    """Read what `write_learned` has written.

    Raises:
        DataError: for a file that is damaged or of another kind, or a codebook that is
            no longer where it was.
    """
    tensors, header = read_tensors(folder / PARAMETERS, KIND, REMEDY)
    algorithm, settings, metadata, place = header
    file = folder / CODEBOOK
    if place and not file.exists():
        file = Path(place)
    codebook = read_codebook(file)
    found = {"data.codebook": checksum(codebook)}
    if identity.conflicts(settings, found):
        raise DataError(f"{file}: the codebook of another training; {REMEDY}")
    return Learned(algorithm, settings, metadata, codebook, unflatten(tensors))


def read_codebook(file: Path) -> Codebook:
    """Read a codebook's file.

    Raises:
        DataError: where there is none, or a damaged one.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such codebook; {REMEDY}")
    tables, header = read_tensors(file, "codebook", REMEDY)
    return Codebook(tables, **header)


def form_of(benchmark: str) -> TableForm:
    """How a user's own records of a benchmark are rows of a table.

    Raises:
        DataError: where they are none.
    """
    form = BENCHMARKS[benchmark].table_form
    if form is None:
        raise DataError(f"{benchmark}: its records have no form as rows of a table")
    return form


def _benchmark(settings: Settings) -> tuple[Benchmark, TableForm]:
    wanted = [settings.get(f"{part}.function") for part in ("encoding", "model")]
    for name, benchmark in BENCHMARKS.items():
        parts = benchmark.encoding, benchmark.model
        if [identity.named(part)["function"] for part in parts] == wanted:
            return benchmark, form_of(name)
    raise ValueError(
        f"no benchmark has the encoding {wanted[0]} and the model {wanted[1]}: the"
        " training was by another version"
    )


def _factory(settings: Settings, name: str) -> Callable[..., Algorithm]:
    """The function of an algorithm, among those of the table."""
    wanted = settings.get(f"{name}.function")
    for entry in ALGORITHMS.values():
        factory = entry.factory
        if identity.named(factory)["function"] == wanted:
            return getattr(factory, "func", factory)
    raise ValueError(f"{name}: nothing was trained by this name that adapts to a user")


def _options(settings: Settings, block: str) -> dict[str, Any]:
    """A block of options, as it was before `identity.settings` made it flat."""
    options = {
        name.removeprefix(f"{block}.").replace(".", "/"): value
        for name, value in settings.items()
        if name.startswith(f"{block}.") and name != f"{block}.function"
    }
    return unflatten(options)


def _check_shapes(name: str, wanted: MetaParams, found: MetaParams) -> None:
    expected, given = (
        {key.replace("/", " "): list(t.shape) for key, t in flatten(meta)}
        for meta in (wanted, found)
    )
    for key in sorted(expected | given):
        if expected.get(key) != given.get(key):
            raise ValueError(
                f"the checkpoint of {name} is of another model or other features: its "
                f"{key} is {given.get(key, 'missing')}, expected "
                f"{expected.get(key, 'none')}"
            )
