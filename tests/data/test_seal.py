"""A file's own checksum."""

import pytest

from fedmeta.data.errors import DataError
from fedmeta.data.seal import PIECE, seal, unsealed, verify

SIZE = 3 * PIECE + 5


def sealed(path, start):
    """A file with a seal at a place; the rest is zeros."""
    content = bytearray(SIZE)
    text = unsealed("toy").encode()
    content[start : start + len(text)] = text
    path.write_bytes(content)
    seal(path, "toy")


@pytest.mark.parametrize(
    "start", [0, PIECE - 100, PIECE - 50, 2 * PIECE + 9, SIZE - 99]
)
def test_large_files_are_sealed_wherever_the_seal_lies(tmp_path, start):
    path = tmp_path / "a"
    sealed(path, start)
    verify(path, "toy", "go on")
    content = path.read_bytes()
    seen = [0, start, start + 98, PIECE - 1, PIECE, 2 * PIECE - 1, SIZE - 1]
    for place in [p for p in seen if p < SIZE]:
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.unlink()
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"/a: .*; go on"):
            verify(path, "toy", "go on")


def test_a_seal_of_another_kind_is_none(tmp_path):
    sealed(tmp_path / "a", 0)
    with pytest.raises(
        DataError, match="a: not a whole table file, or written by an e"
    ):
        verify(tmp_path / "a", "table", "go on")


def test_a_file_without_a_place_for_it_cannot_be_sealed(tmp_path):
    (tmp_path / "a").write_bytes(bytes(9))
    with pytest.raises(ValueError, match="a: no place for the seal of a toy"):
        seal(tmp_path / "a", "toy")
