"""A small Cloud Storage on loopback, with the failures that the real one has."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest


@dataclass
class FakeStorage:
    """Buckets and objects in memory, and what the tests want to go wrong.

    `failures` are statuses that the next requests are answered with; None breaks the connection without an answer.
    `cut_bytes` are how much of the next media answers is sent before the connection breaks; `taken_bytes` how much of
    the next parts of uploads is kept before they fail. `token`, where set, is the only one that is let in.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    composed: set[str] = field(default_factory=set)
    gzipped: set[str] = field(default_factory=set)
    failures: list[int | None] = field(default_factory=list)
    cut_bytes: list[int] = field(default_factory=list)
    taken_bytes: list[int] = field(default_factory=list)
    corrupt: bool = False
    retry_after_s: str = ""
    token: str = ""
    forbidden: bool = False
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    uploads: dict[str, tuple[dict[str, Any], bytearray]] = field(default_factory=dict)

    def media_requests(self) -> list[str]:
        """Give the requests for objects' content."""
        return [request for request in self.requests if "alt=media" in request]


class _Handler(BaseHTTPRequestHandler):
    storage: FakeStorage

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        storage = self.storage
        storage.requests.append(f"{self.command} {self.path}")
        if "Range" in self.headers:
            storage.ranges.append(self.headers["Range"])
        if storage.failures:
            status = storage.failures.pop(0)
            if status is None:
                self.close_connection = True
            else:
                self.answer(status, {"error": {"code": status, "message": "the fake was told to"}})
            return
        if storage.token and self.headers.get("Authorization") != f"Bearer {storage.token}":
            self.answer(401, {"error": {"code": 401, "message": "Invalid Credentials"}})
        elif storage.forbidden:
            self.answer(403, {"error": {"code": 403, "message": "x@y does not have storage.objects.get access"}})
        elif url.path.startswith("/upload/session/"):
            self.upload_part(url.path.rpartition("/")[2], body)
        elif url.path.startswith("/upload/"):
            name = f"{url.path.split('/')[5]}/{query['name']}"
            storage.uploads[str(len(storage.uploads))] = ({**json.loads(body), "name": name}, bytearray())
            self.answer(200, {}, {"Location": f"{storage.url}/upload/session/{len(storage.uploads) - 1}"})
        else:
            _, _, _, _, bucket, _, *name = url.path.split("/")
            self.give(f"{bucket}/{unquote(name[0])}", query)

    def give(self, name: str, query: dict[str, str]) -> None:
        storage = self.storage
        if name not in storage.objects:
            self.answer(404, {"error": {"code": 404, "message": f"No such object: {name}"}})
            return
        content = storage.objects[name]
        if query.get("alt") != "media":
            facts = {"size": str(len(content)), "generation": "7", "crc32c": "AAAAAA=="}
            if name not in storage.composed:
                facts["md5Hash"] = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
            if name in storage.gzipped:
                facts["contentEncoding"] = "gzip"
            self.answer(200, facts)
            return
        assert query["generation"] == "7"
        sent = content[::-1] if storage.corrupt else content
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in self.headers else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(sent) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(sent) - 1}/{len(sent)}")
        self.end_headers()
        cut = storage.cut_bytes.pop(0) if storage.cut_bytes else len(sent)
        # A client that is killed in between is no news.
        with suppress(ConnectionError):
            self.wfile.write(sent[start : start + cut])
        self.close_connection = True

    def upload_part(self, session: str, part: bytes) -> None:
        storage = self.storage
        facts, arrived = storage.uploads[session]
        place, _, total = self.headers["Content-Range"].removeprefix("bytes ").partition("/")
        if part:
            assert int(place.partition("-")[0]) == len(arrived)
            if storage.taken_bytes:
                arrived += part[: storage.taken_bytes.pop(0)]
                self.answer(503, {})
                return
            arrived += part
        if len(arrived) < int(total):
            self.answer(308, None, {"Range": f"bytes=0-{len(arrived) - 1}"} if arrived else {})
            return
        found = base64.b64encode(hashlib.md5(arrived, usedforsecurity=False).digest()).decode()
        if found != facts["md5Hash"]:
            self.answer(400, {"error": {"message": "md5 does not match"}})
            return
        storage.objects[facts["name"]] = bytes(arrived)
        self.answer(200, {"name": facts["name"]})

    def answer(self, status: int, content: dict[str, Any] | None, headers: dict[str, str] | None = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.storage.retry_after_s and status >= 400:
            self.send_header("Retry-After", self.storage.retry_after_s)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - http.server names them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Say nothing."""


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStorage]:
    """Give a Cloud Storage that this process' STORAGE_EMULATOR_HOST names."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    fake = FakeStorage()
    handler = type("Handler", (_Handler,), {"storage": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
