"""Objects in Cloud Storage by its JSON API, with nothing but the standard library.

https://cloud.google.com/storage/docs/json_api/v1. The Google client would cost a server tens of megabytes and a third
of a second at its start.
"""

import base64
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.fetching.http import Http, HttpAnswer, HttpFailure
from tunelane_serving.fetching.tokens import TokenSource

EMULATOR = "STORAGE_EMULATOR_HOST"
SCHEME = "gs://"

_ENDPOINT = "https://storage.googleapis.com"
# A multiple of 256 KiB, as the protocol asks; what is lost at most when a connection breaks.
_UPLOAD_CHUNK_BYTES = 8 << 20
_READ_BYTES = 1 << 20
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_RESUME = 308
# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")

T = TypeVar("T")


class CloudStorage:
    """The objects below a `gs://bucket/prefix`, named relative to it. Safe to use from several threads.

    The token is the machine's service account's (metadata server), or that of the key file which
    GOOGLE_APPLICATION_CREDENTIALS names; with STORAGE_EMULATOR_HOST that server is asked, without a token. What fails
    for a while (429, 5xx, a broken connection) is tried again with growing pauses.

    Every method raises InputError for what the user can mend (no credentials, no right, no such object), and
    TunelaneError where Cloud Storage does not answer as it should.

    Args:
        uri_prefix: `gs://bucket` or `gs://bucket/folder`.
        sleep: what waits between attempts.
    """

    def __init__(self, uri_prefix: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        bucket, _, prefix = uri_prefix.removeprefix(SCHEME).partition("/")
        if not uri_prefix.startswith(SCHEME) or not _BUCKET.fullmatch(bucket):
            raise InputError(f"{uri_prefix} is not a place in Cloud Storage. Pass gs://BUCKET/FOLDER.")
        self.uri = f"{SCHEME}{bucket}/{prefix.strip('/')}".rstrip("/")
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        emulator = os.environ.get(EMULATOR, "").rstrip("/")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        self._endpoint = emulator or _ENDPOINT
        self._http = Http(sleep=sleep)
        self._tokens = None if emulator else TokenSource(self._http)

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        return self._described(name) is not None

    def download(self, name: str, target: Path) -> None:
        """Download one object to the file `target`, whole or not at all; replaces `target`.

        Held against the size and the MD5 that Cloud Storage has of it (objects that were composed of others have no
        MD5). A download that breaks goes on where it stopped, and is of one generation of the object.
        """
        uri = f"{self.uri}/{name}"
        facts = self._described(name)
        if facts is None:
            raise InputError(f"There is no {uri}. Check the name, and that this is its bucket.")
        if facts.get("contentEncoding") == "gzip":
            raise InputError(f"{uri} is stored gzip-encoded. Upload it again as it is, without -z or -Z.")
        try:
            size_bytes, generation = int(facts["size"]), str(facts.get("generation", ""))
        except (KeyError, ValueError) as error:
            raise TunelaneError(f"{uri}: Cloud Storage says no size; try again") from error
        url = f"{self._endpoint}{self._object_path(name)}?alt=media" + (
            f"&generation={generation}" if generation else ""
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            partial = Path(folder) / "partial"
            self._authorized(
                uri, lambda _: self._http.download(url, partial, headers=self._headers, size_bytes=size_bytes)
            )
            wanted = facts.get("md5Hash")
            if wanted and _md5(partial) != wanted:
                raise TunelaneError(f"{uri}: what arrived has another MD5 than Cloud Storage says; try again")
            partial.replace(target)

    def upload(self, name: str, source: Path) -> None:
        """Upload the file `source` as one object; replaces an object of that name, whole or not at all.

        A resumable upload: https://cloud.google.com/storage/docs/performing-resumable-uploads. Cloud Storage holds it
        against its MD5.
        """
        uri = f"{self.uri}/{name}"
        size_bytes = source.stat().st_size
        query = urlencode({"uploadType": "resumable", "name": self._prefix + name})
        answer = self._send(
            "POST",
            f"/upload/storage/v1/b/{self._bucket}/o?{query}",
            uri,
            headers={"Content-Type": "application/json", "X-Upload-Content-Length": str(size_bytes)},
            body=json.dumps({"name": self._prefix + name, "md5Hash": _md5(source)}).encode(),
        )
        session = answer.headers.get("Location") or ""
        if not session.startswith(("https://", f"{self._endpoint}/")):
            raise TunelaneError(f"{uri}: Cloud Storage opened no upload; try again")
        self._authorized(uri, lambda headers: self._upload_parts(session, source, size_bytes, headers))

    def _upload_parts(self, session: str, source: Path, size_bytes: int, headers: Mapping[str, str]) -> None:
        """Send `source` part by part. Where a part fails, ask how much has arrived, and go on from there."""
        patience, kept, broken = self._http.patience(), 0, False
        with source.open("rb") as stream:
            while True:
                stream.seek(kept)
                part = b"" if broken else stream.read(_UPLOAD_CHUNK_BYTES)
                range_sent = f"bytes {kept}-{kept + len(part) - 1}/{size_bytes}" if part else f"bytes */{size_bytes}"
                try:
                    answer = self._http.send_once(
                        "PUT", session, headers={**headers, "Content-Range": range_sent}, body=part
                    )
                except HttpFailure as failure:
                    patience.after(failure)
                    broken = True
                    continue
                if answer.status != _RESUME:
                    return
                arrived = _arrived(answer)
                if arrived > kept:
                    patience.renew()
                elif not broken:
                    patience.after(HttpFailure("Cloud Storage keeps nothing of what is sent; try again", status=None))
                kept, broken = arrived, False

    def _described(self, name: str) -> dict[str, Any] | None:
        """Give an object's metadata, or None where there is no such object."""
        fields = "size,md5Hash,generation,contentEncoding"
        try:
            answer = self._send("GET", f"{self._object_path(name)}?fields={fields}", f"{self.uri}/{name}")
        except _NoSuchObject:
            return None
        return answer.json()

    def _object_path(self, name: str) -> str:
        return f"/storage/v1/b/{self._bucket}/o/{quote(self._prefix + name, safe='')}"

    def _send(
        self,
        method: str,
        path: str,
        uri: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpAnswer:
        def send(authorization: Mapping[str, str]) -> HttpAnswer:
            return self._http.send(
                method, f"{self._endpoint}{path}", headers={**authorization, **(headers or {})}, body=body
            )

        return self._authorized(uri, send)

    def _authorized(self, uri: str, send: Callable[[Mapping[str, str]], T]) -> T:
        """Do `send` with a token, once more with a new one where that is refused, and put failures into words."""
        try:
            try:
                return send(self._headers())
            except HttpFailure as failure:
                if failure.status != _UNAUTHORIZED or self._tokens is None:
                    raise
                self._tokens.forget()
                return send(self._headers())
        except HttpFailure as failure:
            if failure.status == _NOT_FOUND:
                raise _NoSuchObject(f"There is no {uri}. Check the name, and that this is its bucket.") from failure
            if failure.status in (_UNAUTHORIZED, _FORBIDDEN):
                raise InputError(
                    f"No right to {uri}, or it is not there: {failure}. Give the service account the role Storage "
                    "Object Viewer on the bucket (to upload: Storage Object User)."
                ) from failure
            raise TunelaneError(f"Cannot reach {uri}: {failure}") from failure

    def _headers(self) -> dict[str, str]:
        return {} if self._tokens is None else {"Authorization": f"Bearer {self._tokens.token()}"}


class _NoSuchObject(InputError):
    """There is no such object, or no such bucket."""


def _arrived(answer: HttpAnswer) -> int:
    """How many bytes an upload session has: "bytes=0-41" are 42; no Range at all is none."""
    _, _, last = (answer.headers.get("Range") or "").partition("-")
    return int(last) + 1 if last.isdigit() else 0


def _md5(path: Path) -> str:
    """Base64 MD5 of a file, as Cloud Storage writes it."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()
