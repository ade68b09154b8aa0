"""Only from where nobody can change it on the way."""

import gc
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


# Left open, a connection would warn when the error is let go.
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, r"http://example\.com/a\.zip: expected"),  # a redirection is no way out
        (404, "HTTP Error 404"),
    ],
)
def test_an_answer_that_is_refused_is_closed(status, error):
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
        with pytest.raises((DataError, HTTPError), match=f"^{error}"):
            open_url(f"http://127.0.0.1:{server.server_port}/a")
        thread.join()
    gc.collect()


def test_a_record_that_cannot_be_read_is_named(tmp_path):
    assert recorded(tmp_path, "a") == {}
    (tmp_path / RECORD).write_text("[1]")
    with pytest.raises(DataError, match=rf"{RECORD}: cannot be read.*move it aside"):
        recorded(tmp_path, "a")
