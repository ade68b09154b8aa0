"""Windows cut out of a text, and LEAF's two vocabularies."""

import time

import numpy as np
import pytest
import torch

from fedmeta.benchmarks.shakespeare.windows import (
    VOCABULARIES,
    character_codebook,
    character_encoding,
    window_labels,
)
from fedmeta.data.errors import DataError


def columns_of(text, starts=None):
    codes = np.frombuffer(text.encode("latin-1"), dtype=np.uint8)
    begins = np.zeros(len(codes), dtype=np.uint8)
    begins[np.arange(len(codes) - 80) if starts is None else starts] = 1
    return {"text": codes, "begins": begins}


def encoding(vocabulary):
    return character_encoding(character_codebook(None, None, vocabulary=vocabulary))


def test_ids_of_the_two_vocabularies():
    assert {name: len(symbols) for name, symbols in VOCABULARIES.items()} == {
        "leaf53": 53,
        "leaf80": 80,
    }
    small, large = encoding("leaf53"), encoding("leaf80")
    assert (small.sizes, large.sizes) == ({"symbols": 53}, {"symbols": 80})
    columns = columns_of(" AZaz.\n}~\xe9" + "q" * 71)
    x, y = small.examples(columns, np.array([0]))
    # punctuation and unknown characters are a space, id 0
    assert x[0, :10].tolist() == [0, 1, 26, 27, 52, 0, 0, 0, 0, 0]
    x, y = large.examples(columns, np.array([0]))
    # newline 0, space 1; what is unknown is a space, not the last symbol
    assert x[0, :10].tolist() == [1, 25, 50, 53, 78, 10, 0, 79, 1, 1]
    assert y.tolist() == [69]


def test_record_i_is_the_i_th_window():
    text = "".join(chr(97 + i % 26) for i in range(180))
    columns = columns_of(text, starts=[0, 3, 99])
    x, y = encoding("leaf53").examples(columns, np.array([2, 0, 2]))
    assert (x.dtype, x.shape) == (torch.uint8, (3, 80))
    assert (y.dtype, y.shape) == (torch.int64, (3,))
    spelt = ["".join(VOCABULARIES["leaf53"][i] for i in row) for row in x]
    assert spelt == [text[99:179], text[:80], text[99:179]]
    assert [VOCABULARIES["leaf53"][i] for i in y] == [text[179], text[80], text[179]]


def test_labels_are_the_characters_of_the_text():
    columns = columns_of("x" * 80 + ".;?")
    assert window_labels(columns, np.arange(3)).tolist() == [46, 59, 63]


def test_windows_of_a_long_role_are_cut_fast():
    rng = np.random.default_rng(0)
    codes = rng.integers(32, 127, 66_983, dtype=np.uint8)
    columns = columns_of(bytes(codes).decode("latin-1"))
    rows = rng.choice(66_903, 256, replace=False)
    examples = encoding("leaf80").examples
    times = []
    for _ in range(20):
        start = time.perf_counter()
        examples(columns, rows)
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3


def test_unknown_vocabulary():
    with pytest.raises(DataError, match="'leaf70'; one of leaf53, leaf80"):
        character_codebook(None, None, vocabulary="leaf70")
