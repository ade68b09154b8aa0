"""Checksums stored inside files, so that damage is seen before a file is used.

The seal is a piece of text among the metadata of a file, in whatever format: a marker
that names the kind of file, and a SHA-256 of all bytes of the file but these digits. So
no byte of it can change unnoticed, not those of the marker or of padding either. The
file is read, not mapped, to verify it: a map of a file that is cut short ends the
process by a signal.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fedmeta.data.errors import DataError

DIGITS = 64  # of a SHA-256
# Hashed on all cores at once; the seal lies in the first or in the last such piece.
PIECE = 1 << 20
_verified: set[tuple[str | int, ...]] = set()


def unsealed(kind: str) -> str:
    """Placeholder for a file's metadata, completed by `seal`; one a file."""
    return _marker(kind) + "0" * DIGITS


def seal(path: Path, kind: str) -> None:
    """Complete the seal of a file that holds the text of `unsealed`."""
    with path.open("rb+") as file:
        place = _place(file.fileno(), kind)
        if place is None:
            raise ValueError(f"{path}: no place for the seal of a {kind}")
        digest = _digest(file.fileno(), place)
        file.seek(place)
        file.write(digest)


def verify(path: Path, kind: str, remedy: str) -> None:
    """Refuse a file whose bytes differ from what was sealed.

    Once a file: what this process has verified is taken to be whole as long as inode,
    size and times of the file stay. No marker on the disk would do for other processes,
    which could not tell whether the bytes have changed since.

    Args:
        path: of the file.
        kind: what it has to be.
        remedy: ends the message.

    Raises:
        DataError: for a damaged file, or one of another kind or an earlier version.
        FileNotFoundError: where there is none.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        identity = (kind, status.st_dev, status.st_ino, *stamp)
        if identity in _verified:
            return
        place = _place(file.fileno(), kind)
        if place is None:
            raise DataError(
                f"{path}: not a whole {kind} file, or written by an earlier version,"
                f" without a checksum; {remedy}"
            )
        if os.pread(file.fileno(), DIGITS, place) != _digest(file.fileno(), place):
            raise DataError(
                f"{path}: damaged: its content is not that of its checksum; {remedy}"
            )
        _verified.add(identity)


def _marker(kind: str) -> str:
    return f"fedmeta {kind} sealed by sha256 "


def _place(file: int, kind: str) -> int | None:
    """Position of the seal's digits in the file."""
    marker, size = _marker(kind).encode(), os.fstat(file).st_size
    for start in (0, max(0, size - PIECE)):
        found = os.pread(file, PIECE, start).find(marker)
        if found >= 0 and start + found + len(marker) + DIGITS <= size:
            return start + found + len(marker)
    return None


def _digest(file: int, place: int) -> bytes:
    """SHA-256 of the digests of a file's pieces, in hexadecimal digits."""

    def digest(start: int) -> bytes:
        piece = os.pread(file, PIECE, start)
        # The seal's own digits, where they are in this piece, are left out.
        first, last = (min(max(0, at - start), PIECE) for at in (place, place + DIGITS))
        digest = hashlib.sha256(memoryview(piece)[:first])
        digest.update(memoryview(piece)[last:])
        return digest.digest()

    size = os.fstat(file).st_size
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        pieces = threads.map(digest, range(0, size, PIECE))
        whole = hashlib.sha256(b"".join(pieces))
    return whole.hexdigest().encode()
