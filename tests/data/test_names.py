"""Names that may be of one person."""

import pytest

from fedmeta.data.names import alike


@pytest.mark.parametrize(
    "pair",
    [
        ("Ann", "ann"),
        (" ann", "ann"),
        ("ann  lee", "Ann Lee"),
        ("Jos\xe9", "Jose\u0301"),
        ("7", "7.0"),
        ("stra\xdfe", "STRASSE"),
    ],
)
def test_names_that_differ_in_spelling_alone_are_noted(pair):
    (note,) = alike(["bob", *pair, "zoe"], "users")
    assert note.startswith("2 users differ")
    assert all(repr(name) in note for name in pair)


def test_other_names_are_not():
    assert alike(["ann", "anna", "7", "70", "7.5", "jose", "jos\xe9"], "users") == []
    assert alike([], "users") == []
