"""Texts and LEAF's JSON as clients, and what is refused."""

import gzip
import logging
import re

import numpy as np
import pytest
from leaf_shards import write_shard

from fedmeta.benchmarks.shakespeare.parse import parse_shakespeare, shakespeare_files
from fedmeta.benchmarks.shakespeare.windows import window_labels
from fedmeta.data.errors import DataError
from fedmeta.data.federated import read_packed, write_packed

TALE = "The quick brown fox, he said - and he said it twice - jumps over no lazy dog. "
LONG = TALE * 3


def of_1994(
    first="a text", roles=(("ANN", LONG), ("BOB", "too\n    short\n    by far"))
):
    """A play in the layout of 1994."""
    lines = [first, "verses by William Shakespeare", "", "", "A PLAY", ""]
    lines.append("by William Shakespeare")
    for name, said in roles:
        third = len(said) // 3
        pieces = [said[:third], said[third : 2 * third], said[2 * third :]]
        pieces = said.split("\n    ") if "\n" in said else pieces
        lines += [f"  {name}. {pieces[0]}", *(f"    {piece}" for piece in pieces[1:])]
    return "\n".join([*lines, "THE END", ""])


CURRENT = """*** START OF THE PROJECT GUTENBERG EBOOK A PLAY ***
Contents
A PLAY

A PLAY
ACT I
ANN.
{}
b
c
BOB.
a
*** END OF THE PROJECT GUTENBERG EBOOK A PLAY ***
""".format(LONG.replace("-", "—"))


def windows_of(text):
    count = len(text) - 80
    return [text[i : i + 80] for i in range(count)], list(text[80:])


def string(codes):
    return bytes(codes).decode("ascii")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_text_of_1994(tmp_path, caplog, name, ending):
    raw = of_1994().replace("\n", ending).encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if "gz" in name else raw)
    files = shakespeare_files(tmp_path)
    clients, metadata = parse_shakespeare(files)
    with caplog.at_level(logging.INFO):
        write_packed(tmp_path / "packed.arrow", clients, metadata)
    data = read_packed(tmp_path / "packed.arrow")
    assert data.client_ids == ["A_PLAY_ANN"]
    columns = data.columns("A_PLAY_ANN")
    # cut into three lines, put together with a space after each
    said = string(columns["text"])
    assert said.replace(" ", "") == LONG.replace(" ", "")
    assert columns["begins"].tolist() == [1] * (len(said) - 80) + [0] * 80
    assert metadata["benchmark"] == "shakespeare"
    assert metadata["synthetic"] == "false"
    assert "not the file that LEAF reads" in metadata["source"]
    assert "name" not in metadata
    assert "1 roles have no window" in caplog.text  # BOB's, which vanishes


def test_the_present_text_has_a_name_of_its_own(tmp_path):
    (tmp_path / "a.txt").write_text(CURRENT, encoding="utf-8")
    clients, metadata = parse_shakespeare(shakespeare_files(tmp_path))
    (ann,) = clients
    assert string(ann.columns["text"]) == LONG + "b c "
    assert "present Gutenberg" in metadata["name"]


def test_a_generated_text_says_so(tmp_path):
    (tmp_path / "a.txt").write_text(of_1994("SYNTHETIC: by a test"))
    _, metadata = parse_shakespeare(shakespeare_files(tmp_path))
    assert metadata["synthetic"] == "true"
    assert metadata["source"] == "SYNTHETIC: by a test"


def test_leafs_windows_are_put_together(tmp_path):
    x, y = windows_of(LONG)
    # windows 0..4, then 10..12: two stretches
    rows = [0, 1, 2, 3, 4, 10, 11, 12]
    chosen = [x[i] for i in rows], [y[i] for i in rows]
    write_shard(tmp_path / "a.json", {"ANN": chosen, "BOB": ([], [])})
    clients, metadata = parse_shakespeare(shakespeare_files(tmp_path))
    (ann,) = clients
    text, begins = ann.columns["text"], ann.columns["begins"]
    assert len(text) == 85 + 83
    starts = np.flatnonzero(begins)
    assert [string(text[s : s + 80]) for s in starts] == chosen[0]
    assert string(window_labels(ann.columns, np.arange(8))) == "".join(chosen[1])
    assert metadata["source"] == "LEAF JSON"


def test_leafs_other_characters_keep_their_place(tmp_path):
    text = "“Æneas—and Zoë’s ☃”, he said. " * 4
    write_shard(tmp_path / "a.json", {"ANN": windows_of(text)})
    (ann,) = parse_shakespeare(shakespeare_files(tmp_path))[0]
    assert string(ann.columns["text"]) == '"Eneas-and Zoe\'s  ", he said. ' * 4


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([LONG[:80], LONG[:79]], ["a", "b"], "record 1 has 79 characters in x; .* 80"),
        ([LONG[:80]], ["ab"], "record 0 has 2 characters in y; expected 1"),
        ([LONG[:80]], [7], "record 0 has no text in y; expected 1"),
        ([[0.5] * 784], ["a"], "record 0 has no text in x; expected 80: make the file"),
    ],
)
def test_leaf_json_of_another_form(tmp_path, x, y, message):
    path = write_shard(tmp_path / "a.json", {"ANN": (x, y)})
    with pytest.raises(DataError, match=message) as caught:
        list(parse_shakespeare([path])[0])
    assert f"{path}: client 'ANN'" in str(caught.value)


def refused(folder):
    """The one line with which a folder is refused."""
    with pytest.raises(DataError) as caught:
        list(parse_shakespeare(shakespeare_files(folder))[0])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.txt", of_1994().encode("utf-16"), "a.txt: is in UTF-16; expected UTF-8"),
        ("a.txt", of_1994().encode("utf-16-le"), "a.txt: is in UTF-16"),
        ("a.txt", b"caf\xe9", "a.txt: byte 3 is 0xe9; expected UTF-8: convert it"),
        ("a.txt", b"", "a.txt: neither the text of 1994"),
        ("a.txt", b"ANN. Hello\n" * 99, "neither the text of 1994"),
        ("a.txt.gz", b"plain", "a.txt.gz: not a whole gzip file"),
        (
            "a.txt.gz",
            gzip.compress(of_1994().encode())[:-20],
            "not a whole gzip file .* copy or fetch it again",
        ),
        (
            "a.txt",
            of_1994().replace("THE END", "").encode(),
            'in the layout of 1994, but cut short: it lacks "THE END"',
        ),
        (
            "a.txt",
            CURRENT[: CURRENT.index("*** END")].encode(),
            "the present Gutenberg text, but cut short: it lacks .*END OF",
        ),
        (
            "a.txt",
            of_1994(roles=(("ANN", "a"),)).replace("  ANN", "ANN").encode(),
            "nobody says more than two lines .* fetch the text",
        ),
    ],
)
def test_a_text_that_cannot_be_read(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    found = refused(tmp_path)
    assert str(tmp_path / name) in found
    assert re.search(message, found)


def test_an_empty_folder_says_where_texts_come_from(tmp_path):
    assert "shakespeare.fetch" in refused(tmp_path)


def test_kinds_are_not_mixed(tmp_path):
    (tmp_path / "a.txt").write_text(of_1994())
    (tmp_path / "b.txt").write_text(of_1994("SYNTHETIC: drawn"))
    assert "b.txt: a generated text, but " in refused(tmp_path)
    (tmp_path / "b.txt").write_text(CURRENT, encoding="utf-8")
    assert "b.txt: the present Gutenberg text, but " in refused(tmp_path)
    (tmp_path / "b.txt").write_text(of_1994())
    assert "client 'A_PLAY_ANN' is also in " in refused(tmp_path)
    write_shard(tmp_path / "b.json", {"ANN": windows_of(LONG)})
    assert "has both a.txt and b.json" in refused(tmp_path)


def test_no_role_with_a_window_is_an_error(tmp_path):
    roles = (("ANN", "a" * 30), ("BOB", "b" * 30))
    (tmp_path / "a.txt").write_text(of_1994(roles=roles))
    clients, metadata = parse_shakespeare(shakespeare_files(tmp_path))
    with pytest.raises(DataError, match="no clients to write"):
        write_packed(tmp_path / "packed.arrow", clients, metadata)


@pytest.mark.parametrize("junk", ["._a.txt", "._a.json", ".a.txt.swp", "a.txt~"])
def test_what_systems_and_editors_leave_is_passed_over(tmp_path, junk):
    (tmp_path / "a.txt").write_text("a play")
    (tmp_path / junk).write_bytes(b"\0\5\x16\7")
    assert shakespeare_files(tmp_path) == [tmp_path / "a.txt"]


def test_the_right_folder_is_named(tmp_path):
    (tmp_path / "all_data").mkdir()
    write_shard(tmp_path / "all_data" / "a.json", {})
    with pytest.raises(DataError, match="but in all_data/: name the folder"):
        shakespeare_files(tmp_path)
