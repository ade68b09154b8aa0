"""Codebooks: which words are known, and what examples look like."""

import numpy as np
import pandas as pd
import pytest
import torch

from fedmeta.benchmarks.sent140.benchmark import SENT140
from fedmeta.benchmarks.sent140.tokens import TokenHashes, hash_text, token_hash
from fedmeta.benchmarks.sent140.vectors import codebook, encoding, read_glove
from fedmeta.data.errors import DataError
from fedmeta.data.federated import ClientRecords, read_packed, write_packed

TEXTS = {
    "train": ["a a b", "a b c", "rare"],
    "other": ["d d d d d d", ""],
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    hashes = TokenHashes()
    clients = []
    for name, texts in TEXTS.items():
        tokens = np.array([hash_text(text, hashes, True) for text in texts])
        label = np.arange(len(texts), dtype=np.uint8) % 2
        clients.append(ClientRecords(name, {"tokens": tokens, "label": label}))
    path = tmp_path_factory.mktemp("packed") / "records.arrow"
    write_packed(path, clients, {})
    return read_packed(path)


def clients(stop=3):
    return pd.DataFrame({"client_id": ["train"], "start": [0], "stop": [stop]})


def make(records, embedding, **options):
    options = {"width": 4, "vocabulary": 9, **options}
    return codebook(records, clients(), embedding=embedding, **options)


def examples(book, records, client="train", rows=(0, 1, 2)):
    return encoding(book).examples(records.columns(client), np.array(rows))


def test_a_frozen_vector_is_the_words_own(records):
    book = make(records, "hashed")
    x, y = examples(book, records)
    assert (x.dtype, x.shape, y.dtype) == (torch.float32, (3, 25, 4), torch.int64)
    assert y.tolist() == [0, 1, 0]
    a, b = x[0, 0], x[0, 2]
    assert torch.equal(x[0, 1], a)
    assert torch.equal(x[1, 0], a)
    assert torch.equal(x[1, 1], b)
    assert not torch.equal(a, b)
    assert (x[0, 3:] == 0).all()  # padding
    # clients that do not train have words, too
    assert (examples(book, records, "other", [0])[0][0, :6] != 0).all()
    assert (examples(book, records, "other", [1])[0] == 0).all()
    assert encoding(book).sizes == {"words": 0, "width": 4}
    assert "5 of 5 distinct tokens, 100.0%" in book.note


def test_hashed_vectors_depend_on_the_word_alone(records, tmp_path):
    path = tmp_path / "one.arrow"
    tokens = np.array([hash_text("zz a", TokenHashes(), True)])
    column = {"tokens": tokens, "label": np.zeros(1, np.uint8)}
    write_packed(path, [ClientRecords("train", column)], {})
    alone = read_packed(path)
    x, _ = encoding(
        codebook(alone, clients(1), embedding="hashed", width=4, vocabulary=1)
    ).examples(alone.columns("train"), np.array([0]))
    assert torch.equal(x[0, 1], examples(make(records, "hashed"), records)[0][0, 0])
    wide = make(records, "hashed", width=20_000).tables["vectors"][1:]
    np.testing.assert_allclose(wide.mean(dim=1), 0, atol=0.02)
    np.testing.assert_allclose(wide.std(dim=1), 0.4, atol=0.02)


def test_trained_ids_are_the_training_clients_most_frequent_words(records):
    book = make(records, "trained", vocabulary=2)
    x, _ = examples(book, records)
    a, b = x[0, 0].item(), x[0, 2].item()
    assert {a, b} == {1, 2}  # 0 is left to padding and the unknown
    assert x[:, :4].tolist() == [[a, a, b, 0], [a, b, 0, 0], [0, 0, 0, 0]]
    assert x.dtype == torch.int64
    assert encoding(book).sizes == {"words": 2, "width": 4}
    assert "2 of 4 distinct tokens, 71.4%" in book.note
    # "d" is the most frequent of all, but nobody who trains says it
    assert (examples(book, records, "other", [0, 1])[0] == 0).all()


def test_only_used_records_count_and_ties_are_settled(records):
    options = {"embedding": "trained", "width": 4}
    book = codebook(records, clients(stop=1), vocabulary=9, **options)
    assert encoding(book).sizes["words"] == 2
    tied = codebook(records, clients(), vocabulary=3, **options)
    chosen = {token_hash("a"), token_hash("b"), min(map(token_hash, ["c", "rare"]))}
    assert set(tied.tables["hashes"].tolist()) == chosen


def test_counting_in_parts_changes_nothing(records, monkeypatch):
    whole = make(records, "hashed"), make(records, "trained", vocabulary=2)
    monkeypatch.setattr("fedmeta.benchmarks.sent140.vectors.TWEETS_AT_ONCE", 1)
    parts = make(records, "hashed"), make(records, "trained", vocabulary=2)
    for book, other in zip(whole, parts, strict=True):
        assert book.note == other.note
        assert all(
            torch.equal(t, other.tables[name]) for name, t in book.tables.items()
        )


def glove(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_glove_is_read_where_the_data_have_the_word(records, tmp_path):
    path = glove(
        tmp_path / "glove.4d.txt",
        "zz 9 9 9 9",
        "a 0.5 -1 2e-1 3",
        "caf\xe9 9 9 9 9",
        ". . . 9 9 9 9",
        "d 1 2 3 4",
    )
    book = make(records, "glove", glove_file=str(path))
    x, _ = examples(book, records)
    np.testing.assert_allclose(x[0, 0], [0.5, -1, 0.2, 3])
    assert (x[0, 2] == 0).all()  # "b" is not in the file
    x, _ = examples(book, records, "other", [0])
    assert x[0, 5].tolist() == [1, 2, 3, 4]
    assert set(book.tables["hashes"].tolist()) == {token_hash("a"), token_hash("d")}
    assert "glove.4d.txt: 2 of 5 distinct tokens, 69.2%" in book.note


def test_a_word_of_glove_may_hold_spaces(tmp_path):
    path = glove(tmp_path / "a.txt", "x 0 0", "at me@a.b 1 2", ". . 3 4")
    wanted = np.sort([token_hash("at me@a.b"), token_hash(". ."), token_hash("at")])
    found, vectors = read_glove(path, wanted, 2)
    assert found.tolist() == [value != token_hash("at") for value in wanted.tolist()]
    assert sorted(vectors.tolist()) == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["b 1 2 3"], "line 1: 3 numbers after the word; expected 4: set width"),
        (["b 1 2 3 4 5"], "line 1: 5 numbers after the word; expected 4"),
        (["400000 4", "a 1 2 3 4"], "line 1: 1 numbers after"),
        (["b 1 2 3 4", "a 1 2 3"], "line 2: 3 numbers"),
        (["b 1 2 3 4", "zz 1 2 3 4 5"], "line 2: 5 numbers"),
        (["b 1 2 3 4", ""], "line 2: 0 numbers"),
        (["b 1 2 3 4", "a 1 2 x 4"], "line 2: not a number .*'x'"),
        (["b 1 2 3 4", "a 1 2 nan 4"], "line 2: a number is not finite"),
        (["zz 1 2 3 4"], r"none of its words is among the data's 5; .* lowercase"),
    ],
)
def test_what_is_not_glove(records, tmp_path, lines, message):
    path = glove(tmp_path / "glove.txt", *lines)
    with pytest.raises(DataError, match=message) as caught:
        make(records, "glove", glove_file=str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_options_that_cannot_be(records, tmp_path):
    for embedding, options, message in [
        ("word2vec", {}, "unknown embedding 'word2vec'; one of glove, hashed, trained"),
        ("glove", {}, r"needs glove_file.*fetch --glove"),
        ("glove", {"glove_file": str(tmp_path / "no.txt")}, r"no\.txt: no such file"),
        ("hashed", {"width": 0}, "width 0, vocabulary 9: both must be positive"),
    ]:
        with pytest.raises(DataError, match=message):
            make(records, embedding, **options)


def test_tweets_without_any_word(tmp_path):
    column = {"tokens": np.zeros((2, 25), np.int64), "label": np.zeros(2, np.uint8)}
    write_packed(tmp_path / "a.arrow", [ClientRecords("train", column)], {})
    with pytest.raises(DataError, match="the tweets have no words"):
        make(read_packed(tmp_path / "a.arrow"), "hashed")


def test_labels_are_those_stored(records):
    assert SENT140.labels(records.columns("train"), np.array([1, 2])).tolist() == [1, 0]
