"""Words as vectors: from GloVe, drawn by the word's hash, or trained.

Frozen vectors are looked up on the client and no part of the model, so they are not
transmitted: the 400,000 of GloVe would outweigh it a thousand times. Unknown words and
padding are the zero vector, as in LEAF.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedmeta.benchmarks.sent140.tokens import PADDING, token_hash
from fedmeta.data.encoding import Codebook, Encoding, labelled
from fedmeta.data.errors import DataError, check_known
from fedmeta.data.federated import FederatedDataset
from fedmeta.data.remote import is_remote
from fedmeta.data.summaries import Spans, Summary, parts, summary_of
from fedmeta.late import pd

EMBEDDINGS = ("glove", "hashed", "trained")
HASHED_SD = 0.4  # about that of GloVe's numbers
TWEETS_AT_ONCE = 100_000  # sorted together: some 20 MB
FETCH_GLOVE = "fetch GloVe with `python -m fedmeta.benchmarks.sent140.fetch --glove`"

# int64 [w] hashes, ascending; int64 [w] how often each occurs
WordCounts = tuple[np.ndarray, np.ndarray]


def summary(records: FederatedDataset, spans: Spans) -> Summary:
    """How often each word, by its hash, occurs in some clients' used tweets."""
    hashes, times = _count_tokens(records, spans)
    return {"words": dict(zip(hashes.tolist(), times.tolist(), strict=True))}


def codebook(
    records: FederatedDataset,
    clients: pd.DataFrame,
    *,
    embedding: str,
    width: int,
    vocabulary: int,
    glove_file: str | None = None,
) -> Codebook:
    """What words become.

    Args:
        records: whose tokens frozen vectors are looked up for.
        clients: training clients; their used records choose the words of a trained
            embedding.
        embedding: "glove" and "hashed" are frozen, "trained" is a layer of the model.
        width: numbers of a vector.
        vocabulary: how many words, the most frequent, a trained embedding has.
        glove_file: GloVe's text file, for "glove".

    Returns:
        `width` [] and `hashes` int64 [w], ascending; for frozen vectors also `vectors`
        float32 [w + 1, width], the first of them zero.

    Raises:
        DataError: for an unknown embedding or a GloVe file that cannot be used.
    """
    check_known(embedding, EMBEDDINGS, "embedding")
    if min(width, vocabulary) < 1:
        raise DataError(
            f"width {width}, vocabulary {vocabulary}: both must be positive"
        )
    if embedding == "trained":
        tables, note = _trained(records, clients, width, vocabulary)
    elif embedding == "hashed":
        tables, note = _hashed(records, width)
    else:
        tables, note = _glove(records, width, glove_file)
    return Codebook({**tables, "width": torch.tensor(width)}, note)


def encoding(codebook: Codebook) -> Encoding:
    """Tokens [b, 25] as vectors float32 [b, 25, width], or int64 ids to train them.

    `sizes["words"]` is 0 for vectors; ids run from 1 to it, 0 is padding and unknown.
    """
    hashes = codebook.tables["hashes"].numpy()
    vectors = codebook.tables.get("vectors")
    last = len(hashes) - 1  # where a token beyond all hashes is compared, in vain

    def inputs(columns: dict[str, np.ndarray], rows: np.ndarray) -> Tensor:
        tokens = columns["tokens"][rows]  # [b, 25]
        place = np.minimum(np.searchsorted(hashes, tokens), last)
        ids = torch.from_numpy(np.where(hashes[place] == tokens, place + 1, 0))
        return ids if vectors is None else vectors[ids]

    words = len(hashes) if vectors is None else 0
    sizes = {"words": words, "width": int(codebook.tables["width"])}
    return Encoding(labelled(inputs), sizes)


def read_glove(
    path: str | Path, hashes: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of some words, from a text file that is read line by line.

    Args:
        path: a line a word, `width` numbers after it; no header.
        hashes: [w] of the words wanted, ascending; others are passed over.
        width: of the vectors.

    Returns:
        bool [w] whether the file has the word, float32 [found, width] in that order.

    Raises:
        DataError: for a file or a line of another form, or no word in common.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file of word vectors; {FETCH_GLOVE}")
    places = dict(zip(hashes.tolist(), range(len(hashes)), strict=True))
    found: dict[int, np.ndarray] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            word, values = _split(line, width, f"{path}: line {number}")
            place = places.get(token_hash(word.decode(errors="replace")))
            if place is not None:
                found[place] = _numbers(values, f"{path}: line {number}")
    if not found:
        raise DataError(
            f"{path}: none of its words is among the data's {len(hashes)}; expected "
            "GloVe's text file in the language of the data (glove.6B has lower-case "
            "words only: set lowercase to true)"
        )
    order = sorted(found)
    mask = np.zeros(len(hashes), dtype=bool)
    mask[order] = True
    return mask, np.stack([found[place] for place in order])


def _split(line: bytes, width: int, place: str) -> tuple[bytes, list[bytes]]:
    """The word and the numbers of a line; a word of GloVe 840B may hold spaces."""
    word, *values = line.rstrip(b" \r\n").rsplit(b" ", width)
    spare = len(word.split(b" ")) - 1
    first = place.endswith(" line 1")  # ordinary words come first
    if len(values) < width or (spare and (first or _is_number(word.split(b" ")[-1]))):
        raise DataError(
            f"{place}: {len(values) + spare} numbers after the word; expected {width}: "
            f"set width to the file's own, or {FETCH_GLOVE}"
        )
    return word, values


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(values: list[bytes], place: str) -> np.ndarray:
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float32)
    except ValueError as error:
        raise DataError(f"{place}: not a number ({error}); {FETCH_GLOVE}") from None
    if not np.isfinite(numbers).all():
        raise DataError(f"{place}: a number is not finite; {FETCH_GLOVE}")
    return numbers


def _glove(
    records: FederatedDataset, width: int, glove_file: str | None
) -> tuple[dict[str, Tensor], str]:
    if glove_file is None:
        raise DataError(
            "embedding 'glove' needs glove_file, a text file of word vectors; "
            f"{FETCH_GLOVE}, or set embedding to 'hashed' or 'trained'"
        )
    hashes, times = _all_words(records)
    found, vectors = read_glove(glove_file, hashes, width)
    vectors = np.concatenate([np.zeros((1, width), dtype=np.float32), vectors])
    return _frozen(hashes[found], vectors), (
        f"frozen GloVe vectors of {width} numbers from {Path(glove_file).name}: "
        + _coverage(found, times)
    )


def _hashed(records: FederatedDataset, width: int) -> tuple[dict[str, Tensor], str]:
    hashes, times = _all_words(records)
    vectors = np.zeros((len(hashes) + 1, width), dtype=np.float32)
    for row, seed in zip(vectors[1:], hashes.view(np.uint64), strict=True):
        np.random.default_rng(seed).standard_normal(dtype=np.float32, out=row)
    vectors *= HASHED_SD
    return _frozen(hashes, vectors), (
        f"frozen random vectors of {width} numbers, N(0, {HASHED_SD}²), a word's own: "
        + _coverage(np.ones(len(hashes), dtype=bool), times)
    )


def _trained(
    records: FederatedDataset, clients: pd.DataFrame, width: int, vocabulary: int
) -> tuple[dict[str, Tensor], str]:
    counted = summary_of(records, clients, summary)["words"]
    hashes, times = (np.array([*own], np.int64) for own in (counted, counted.values()))
    _check_words(hashes, records)
    order = np.argsort(hashes)
    hashes, times = hashes[order], times[order]
    chosen = np.zeros(len(hashes), dtype=bool)
    # a stable order: of equally frequent words the lower hash comes first
    chosen[np.argsort(-times, kind="stable")[:vocabulary]] = True
    return {"hashes": torch.from_numpy(hashes[chosen])}, (
        f"trained vectors of {width} numbers for the training clients' most frequent "
        "words: " + _coverage(chosen, times)
    )


def _frozen(hashes: np.ndarray, vectors: np.ndarray) -> dict[str, Tensor]:
    return {"hashes": torch.from_numpy(hashes), "vectors": torch.from_numpy(vectors)}


def _coverage(known: np.ndarray, times: np.ndarray) -> str:
    share = times[known].sum() / max(1, times.sum())
    return (
        f"{known.sum():,} of {len(known):,} distinct tokens, {share:.1%} of the running"
        " text"
    )


def _count_tokens(records: FederatedDataset, spans: Spans) -> WordCounts:
    """How often each token occurs in some records."""
    tokens = parts(records, spans, "tokens", TWEETS_AT_ONCE)
    counted: list[WordCounts] = [np.unique(part, return_counts=True) for part in tokens]
    hashes, place = np.unique(
        np.concatenate([part for part, _ in counted]), return_inverse=True
    )
    times = np.zeros(len(hashes), dtype=np.int64)
    np.add.at(times, place, np.concatenate([part for _, part in counted]))
    real = hashes != PADDING
    return hashes[real], times[real]


def _all_words(records: FederatedDataset) -> WordCounts:
    """Of all records, of which there may be none on a server."""
    if is_remote(records):
        raise DataError(
            "frozen word vectors are looked up for the words of all records, and these"
            " stay on nodes: set encoding.embedding to trained"
        )
    sizes = records.num_examples.tolist()
    spans = [(c, 0, n) for c, n in zip(records.client_ids, sizes, strict=True)]
    hashes, times = _count_tokens(records, spans)
    _check_words(hashes, records)
    return hashes, times


def _check_words(hashes: np.ndarray, records: FederatedDataset) -> None:
    if not len(hashes):
        raise DataError(
            f"{records.path}: the tweets have no words; check the raw files"
        )
