"""Where raw files were fetched from, and that a later fetch finds the same there.

The first fetch of a source into a folder writes down its checksum, and its revision
where the source has any, in `RECORD` beside the files. Later ones are held to that. No
checksum is known beforehand: what the first fetch found is trusted, unless it is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from fedmeta.data.errors import DataError
from fedmeta.data.files import whole_path

RECORD = ".fetched.json"  # hidden: it is no raw file
TIMEOUT = 60  # seconds without an answer
HERE = ("127.0.0.1", "::1", "localhost")  # nobody is on the way to these

Origin = Mapping[str, str]  # "sha256", "revision"


def recorded(folder: Path, source: str) -> Origin:
    """What an earlier fetch of a source into a folder has found, or nothing.

    Raises:
        DataError: for a record that cannot be read.
    """
    return _records(folder).get(source, {})


def check_origin(
    folder: Path, source: str, found: Origin, given: Mapping[str, str | None]
) -> None:
    """Refuse what is not as given, or else as at the first fetch.

    Raises:
        DataError: names source, expectation and how to take the new one.
    """
    earlier = recorded(folder, source)
    for name, value in found.items():
        wanted = given.get(name) or earlier.get(name)
        if wanted is not None and wanted.lower() != value:
            reason = "as given" if given.get(name) else f"as {folder / RECORD} has it"
            raise DataError(
                f"{source}: its {name} is {value}; expected {wanted}, {reason}: it is"
                " another file than the first time; to take it, fetch it into another"
                f" folder, or with --{name} {value}"
            )


def record_origin(folder: Path, source: str, found: Origin) -> None:
    """Write down what was fetched."""
    records = {**_records(folder), source: dict(found)}
    with whole_path(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(records, indent=1), encoding="utf-8")


def secure(url: str) -> str:
    """The address, if nobody can change on the way what comes from it.

    Raises:
        DataError: for another scheme than https, but for servers on this machine.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in HERE):
        return url
    raise DataError(
        f"{url}: expected an address that begins with https://, since anything else can"
        " be changed on the way"
    )


def open_url(url: str, headers: Mapping[str, str] = {}) -> HTTPResponse:
    """The answer of a server; a redirection must be secure as well.

    Raises:
        DataError: for an address that is not `secure`.
        OSError: for any trouble with the server or the network.
    """
    request = Request(secure(url), headers=dict(headers))
    try:
        return build_opener(_Secure).open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()  # the connection is open until the error goes
        raise


class _Secure(HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> Request | None:
        secure(args[-1])
        return super().redirect_request(*args)


def _records(folder: Path) -> dict[str, Origin]:
    path = folder / RECORD
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise DataError(
            f"{path}: cannot be read, though a fetch has written it; move it aside, and"
            " nothing is known of earlier fetches into this folder"
        ) from None
