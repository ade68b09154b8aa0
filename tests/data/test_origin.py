"""Only from where nobody can change it on the way."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.error import HTTPError

import pytest

from fedmeta.benchmarks.sent140 import fetch as sent140
from fedmeta.benchmarks.shakespeare import fetch as shakespeare
from fedmeta.data.errors import DataError
from fedmeta.data.origin import RECORD, open_url, recorded, secure


@pytest.mark.parametrize(
    "url", [sent140.TWEETS_URL, sent140.GLOVE_URL, shakespeare.SERVER]
)
def test_our_own_addresses_are_secure(url):
    assert secure(url) == url


@pytest.mark.parametrize(
    "url", ["http://example.com/a.zip", "ftp://example.com/a", "file:///a", "a.zip"]
)
def test_others_are_refused(url):
    with pytest.raises(DataError, match=f"^{url}: expected .* https://"):
        secure(url)


@contextmanager
def answering(status: int) -> Iterator[str]:
    """The address of a server that answers once."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Location", "http://example.com/a.zip")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a"
        thread.join()


def test_a_redirection_is_no_way_out():
    expected = r"^http://example\.com/a\.zip: expected"
    with answering(302) as url, pytest.raises(DataError, match=expected):
        open_url(url)


def test_a_failed_answer_is_closed():
    with answering(404) as url, pytest.raises(HTTPError, match="404") as raised:
        open_url(url)
    assert raised.value.fp.isclosed()


def test_a_record_that_cannot_be_read_is_named(tmp_path):
    assert recorded(tmp_path, "a") == {}
    (tmp_path / RECORD).write_text("[1]")
    with pytest.raises(DataError, match=rf"{RECORD}: cannot be read.*move it aside"):
        recorded(tmp_path, "a")
