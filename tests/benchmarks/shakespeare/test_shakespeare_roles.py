"""LEAF's rules on small hand-made plays, and its numbers on the real text."""

import os
from pathlib import Path

import numpy as np
import pytest

from fedmeta.benchmarks.shakespeare.parse import (
    parse_shakespeare,
    read_text,
    shakespeare_files,
)
from fedmeta.benchmarks.shakespeare.roles import extract_roles
from fedmeta.benchmarks.shakespeare.windows import WINDOW, window_labels

HEAD = (
    "dropped line\nverses, by William Shakespeare\n\n  1\n  A verse. It is no speech\n"
)


def play(title, body, gap=1):
    """A play in the layout of 1994, its title `gap` empty lines above the byline."""
    empty = "\n" * gap
    return f"\n\n\n1600\n\n{title}\n{empty}by William Shakespeare\n\n{body}\nTHE END\n"


TWO = """ACT I. SCENE 1.
Enter ANN and a MAN

  ANN. one   two
    three
     four
Exit ANN
    five
  Ann. six
  OLD MAN. seven. Eight
    nine
   ten
    eleven
"""


def texts(extract):
    return {(role.play, role.name): role.text for role in extract.roles}


def test_speakers_continuations_and_what_is_passed_over():
    extract = extract_roles(HEAD + play("A PLAY", TWO))
    # a stage direction does not end a speech; inner spaces shrink, one ends the text
    assert texts(extract) == {
        ("A PLAY", "ANN"): "one two three four five six ",
        ("A PLAY", "OLD MAN"): "seven. Eight nine eleven ",
    }
    assert extract.pairs == 2
    # ACT, Enter, Exit, the line of three spaces, THE END
    assert extract.discarded == 5


def test_the_first_byline_and_all_before_it_is_skipped():
    text = HEAD.replace("A verse.", "ANN. early\n    early\n    early\n  BOB.")
    roles = texts(extract_roles(text + "\n\n\n\n" + play("A PLAY", TWO)))
    assert {play for play, _ in roles} == {"A PLAY"}
    assert not any("early" in said for said in roles.values())


@pytest.mark.parametrize("gap", [1, 2, 4, 6])
def test_a_title_is_the_nearest_line_above(gap):
    text = HEAD + play("FIRST", TWO) + "\n" * 9 + play("SECOND", TWO, gap)
    assert {play for play, _ in texts(extract_roles(text))} == {"FIRST", "SECOND"}


def test_roles_of_two_lines_and_plays_of_one_role_are_dropped():
    short = "  ANN. a\n    b\n    c\n  BOB. a\n    b\n"
    alone = "  CAT. a\n    b\n    c\n    d\nnobody's\n"
    extract = extract_roles(HEAD + play("SHORT", short) + play("ALONE", alone))
    assert texts(extract) == {("SHORT", "ANN"): "a b c "}
    assert extract.pairs == 2  # CAT's is no play
    # of SHORT alone: its end, and the year and title that stand above the next byline
    assert extract.discarded == 3


def test_the_play_without_indents():
    body = (
        "ACT I. SCENE 1\nA hall\nANN. one\n  two\n\nthree\nBOB. four\nfive\nsix\n"
        "<<licence\nnobody's\nact v. scene\nnobody's\nANN. seven\n"
    )
    roles = texts(extract_roles(HEAD + play("THE COMEDY OF ERRORS", body)))
    assert roles["THE COMEDY OF ERRORS", "ANN"].startswith("one two three seven ")
    assert roles["THE COMEDY OF ERRORS", "BOB"] == "four five six "


def test_what_follows_the_last_play_of_the_edition_is_not_read():
    text = HEAD + play("A PLAY", TWO)
    late = text + "\n" * (124_195 - text.count("\n")) + "    late\n"
    assert not any("late" in said for said in texts(extract_roles(late)).values())


def test_ids_have_word_characters_only():
    (first, _) = extract_roles(HEAD + play("ANN'S, PLAY", TWO)).roles
    assert first.client_id == "ANN_S__PLAY_ANN"


@pytest.mark.real_data
@pytest.mark.skipif(not os.environ.get("SHAKESPEARE"), reason="SHAKESPEARE not given")
class TestTextOf1994:
    """LEAF's numbers: SHAKESPEARE=/text/or/folder pytest -m real_data."""

    @pytest.fixture
    def files(self):
        path = Path(os.environ["SHAKESPEARE"])
        return shakespeare_files(path) if path.is_dir() else [path]

    def test_roles(self, files):
        extract = extract_roles(read_text(files[0]))
        assert len({role.play for role in extract.roles}) == 36
        assert extract.pairs == 1302
        assert len(extract.roles) == 1145
        assert extract.discarded == 5662

    def test_windows(self, files):
        clients, metadata = parse_shakespeare(files)
        assert metadata["synthetic"] == "false"
        assert "LEAF's text" in metadata["source"]
        counts, present = [], set()
        for client in clients:
            counts.append(int(client.columns["begins"].sum()))
            present.update(np.unique(client.columns["text"]).tolist())
            assert len(client.columns["text"]) == counts[-1] + WINDOW
            labels = window_labels(client.columns, np.arange(counts[-1]))
            assert len(np.unique(labels)) <= 70
        assert len(counts) == 1130
        assert sum(counts) == 4_226_206
        assert max(counts) == 66_903
        assert len(present) == 79
