"""Generated plays: what they say of themselves, their roles and their habits."""

import re

import numpy as np
import pytest

from fedmeta.benchmarks.shakespeare.parse import parse_shakespeare, shakespeare_files
from fedmeta.benchmarks.shakespeare.roles import extract_roles
from fedmeta.benchmarks.shakespeare.synthetic import (
    CONSONANTS,
    Habits,
    lexicon,
    speak,
    write_sample,
)
from fedmeta.options import build


def test_the_text_is_parsed_and_says_that_it_is_synthetic(tmp_path):
    files = write_sample(tmp_path, plays=3, roles_per_play=4, windows_per_role=(9, 99))
    assert files == shakespeare_files(tmp_path) == list(tmp_path.iterdir())
    clients, metadata = parse_shakespeare(files)
    assert metadata["synthetic"] == "true"
    assert "seed 0, 3 plays of 4 roles of 9 to 99 windows" in metadata["source"]
    ids = [client.client_id for client in clients]
    assert len(set(ids)) == 12
    assert all(client_id.startswith("SYNTHETIC_PLAY_") for client_id in ids)


@pytest.mark.parametrize("windows", [1, 50, 333])
def test_roles_have_the_windows_asked_for(tmp_path, windows):
    files = write_sample(tmp_path, 2, 3, (windows, windows))
    sizes = [int(c.columns["begins"].sum()) for c in parse_shakespeare(files)[0]]
    assert sizes == [windows] * 6


def test_sixty_plays_have_sixty_names(tmp_path):
    (path,) = write_sample(tmp_path, 60, 2, (1, 1))
    assert len({role.play for role in extract_roles(path.read_text()).roles}) == 60


def test_same_arguments_same_bytes(tmp_path):
    def text(name, seed):
        return write_sample(tmp_path / name, 2, 2, (20, 40), seed)[0].read_bytes()

    assert text("a", 1) == text("b", 1) != text("c", 2)


def test_the_habits_are_heard():
    words, _ = lexicon(0)
    assert len(set(words)) == len(words)
    accent = {**dict.fromkeys("aiu", "o"), "t": "d", "s": "z"}
    habits = Habits(accent, oath="sas", favourites=["tat"])
    text = speak(words, habits, 3000, np.random.default_rng(0))
    assert len(text) == 3000
    assert set(text.lower()) <= set("odzpklnm. ")
    assert all(said.endswith(" zoz") for said in text.split(". ")[:-1])
    said = re.findall("[a-z]+", text.lower())
    assert said.count("dod") / len(said) > 0.2


def test_roles_share_their_grammar_and_differ_in_accent(tmp_path):
    (path,) = write_sample(tmp_path, 8, 5, (300, 300))
    texts = [role.text.lower() for role in extract_roles(path.read_text()).roles]
    for ways in CONSONANTS.values():  # each role says one of the two, and both are said
        said = [{letter for letter in ways if letter in text} for text in texts]
        assert {len(letters) for letters in said} == {1}
        assert set.union(*said) == set(ways)
    # words without their accent: much of what a role says, others say as well
    plain = str.maketrans(
        {way: letter for letter, ways in CONSONANTS.items() for way in ways}
        | dict.fromkeys("aeiou", "a")
    )
    spoken = [set(re.findall("[a-z]+", text.translate(plain))) for text in texts]
    shared = [len(a & b) / len(a) for a in spoken for b in spoken if a is not b]
    assert np.mean(shared) > 0.3


def test_a_stop_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fedmeta.benchmarks.shakespeare.synthetic.speak", stop)
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("plays", "roles", "windows", "message"),
    [
        (0, 2, (1, 2), "plays.: expected 1"),
        (1, 1, (1, 2), "roles_per_play.: expected 2"),
        (1, 2, (0, 2), "windows_per_role"),
        (1, 2, (3, 2), "windows_per_role from 3 to 2: expected the least"),
    ],
)
def test_refuses_an_empty_sample(tmp_path, plays, roles, windows, message):
    options = {"plays": plays, "roles_per_play": roles, "windows_per_role": windows}
    with pytest.raises(ValueError, match=message):
        build(write_sample, options, "raw.sample", tmp_path)
