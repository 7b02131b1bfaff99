import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tunelane_serving.errors import InputError
from tunelane_serving.fetching.http import Http, HttpFailure

_OLD, _NEW = b"old " * 100, b"new " * 120


class _Changing(BaseHTTPRequestHandler):
    """Breaks off in the middle of the old version; from then on there is the new one."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str | None, str | None]]

    def do_GET(self) -> None:
        self.close_connection = True
        wanted = self.headers.get("If-Range")
        self.asked.append((self.headers.get("Range"), wanted))
        if len(self.asked) == 1:
            # In chunks, so that an end that comes too early is an error to the reader.
            self.send_response(200)
            self.send_header("ETag", '"old"')
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(_OLD), _OLD))
            return
        range_ = self.headers.get("Range")
        start = int(range_.removeprefix("bytes=").rstrip("-")) if range_ and wanted in (None, '"new"') else 0
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"new"')
        self.send_header("Content-Length", str(len(_NEW) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(_NEW) - 1}/{len(_NEW)}")
        self.end_headers()
        self.wfile.write(_NEW[start:])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Say nothing."""


class _BadLength(_Changing):
    def do_GET(self) -> None:
        self.close_connection = True
        self.asked.append((None, None))
        self.send_response(200)
        self.send_header("Content-Length", "many")
        self.end_headers()
        self.wfile.write(_NEW)


@contextmanager
def _serving(handler: type[_Changing]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Http:
    """Make requests that never wait."""
    monkeypatch.setattr("tunelane_serving.fetching.http._CHUNK_BYTES", 100)
    return Http(proxies=False, sleep=lambda _: None)


def test_what_changes_after_a_connection_broke_is_read_from_its_beginning(http: Http, tmp_path: Path) -> None:
    handler = type("Handler", (_Changing,), {"asked": []})
    with _serving(handler) as url:
        http.download(url, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == _NEW
    assert handler.asked == [(None, None), ("bytes=400-", '"old"')]


def test_a_length_that_is_no_number_is_refused_at_once(http: Http, tmp_path: Path) -> None:
    handler = type("Handler", (_BadLength,), {"asked": []})
    with _serving(handler) as url, pytest.raises(InputError, match="says that it has 'many' bytes"):
        http.download(url, tmp_path / "file")
    assert len(handler.asked) == 1


def test_a_disk_that_is_full_is_no_broken_connection(tmp_path: Path) -> None:
    pauses: list[float] = []

    class Large(_Changing):
        def do_GET(self) -> None:
            self.asked.append((None, None))
            self.send_response(200)
            self.send_header("Content-Length", str(1 << 20))
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(bytes(1 << 20))

    # Where every write fails for want of room.
    handler = type("Handler", (Large,), {"asked": []})
    with _serving(handler) as url, pytest.raises(OSError, match="No space left"):
        Http(proxies=False, sleep=pauses.append).download(url, Path("/dev/full"))
    assert (len(handler.asked), pauses) == (1, [])


def test_no_message_has_the_signature_of_an_address(http: Http, tmp_path: Path) -> None:
    class Refusing(_Changing):
        def do_GET(self) -> None:
            self.send_error(403)

    with _serving(Refusing) as url:
        signed = f"{url}/model.zip?X-Goog-Signature=secret"
        for ask in (lambda: http.send("GET", signed), lambda: http.download(signed, tmp_path / "file")):
            with pytest.raises(HttpFailure, match=r"/model\.zip\?\*\*\*: 403 ") as refused:
                ask()
            assert "secret" not in str(refused.value)
    with pytest.raises(HttpFailure, match=r"/model\.zip\?\*\*\*: Connection refused") as refused:
        http.send("GET", "http://localhost:1/model.zip?sig=secret")
    with pytest.raises(InputError, match="is no address") as unread:
        http.send("GET", "https://user:secret@localhost/model.zip")
    assert "secret" not in f"{refused.value} {unread.value}"


@pytest.mark.parametrize(
    "url",
    ["http://localhost:1/mod\N{LATIN SMALL LETTER E WITH GRAVE}le.zip", "http://localhost:1/a b.zip",
     "http://localhost:1/a\n.zip", "http://[h/a.zip", "http:///a.zip", "http://localhost:many/a.zip", "a.zip"],
)  # fmt: skip
@pytest.mark.parametrize("ask", [lambda http, url, _: http.send("GET", url), lambda http, *rest: http.download(*rest)])
def test_what_is_no_address_is_refused_at_once(
    ask: Callable[[Http, str, Path], None], url: str, tmp_path: Path
) -> None:
    pauses: list[float] = []
    with pytest.raises(InputError, match="is no address") as refused:
        ask(Http(proxies=False, sleep=pauses.append), url, tmp_path / "file")
    assert pauses == []
    assert "\n" not in str(refused.value)
