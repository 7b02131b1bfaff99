"""A folder in a Cloud Storage bucket, by Google's own client: objects are listed, read, and written on a condition.

https://googleapis.dev/python/storage/latest
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tunelane_components.patience import STAGE_PATIENCE_S
from tunelane_serving.errors import InputError, TunelaneError

SCHEME = "gs://"

_TIMEOUT_S = 60.0
# For a token the client connects so often, whatever `retry` says:
# https://github.com/googleapis/google-cloud-python/blob/main/packages/google-auth/google/auth/transport/requests.py
_CONNECTIONS = 4
# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


@dataclass(frozen=True)
class StoredContent:
    """What an object holds, and the generation of it that was read."""

    content: bytes
    generation: int


@dataclass(frozen=True)
class StoredObject:
    """An object as it is listed; `md5` is in base64, and empty for one that was composed of others."""

    size_bytes: int
    md5: str


def is_bucket_name(name: str) -> bool:
    """Whether a bucket can be called so."""
    return _BUCKET.fullmatch(name) is not None


class BucketFolder:
    """The objects below `gs://BUCKET/PATH`, named relative to it.

    What fails for a while (429, 5xx, a broken connection) is tried again with growing pauses.

    Every method raises InputError for what the user can mend (no such bucket, no right, no credentials), and
    TunelaneError where Cloud Storage does not answer as it should.
    """

    def __init__(self, uri: str, *, patience_s: float = STAGE_PATIENCE_S) -> None:
        """Name the folder; nothing is asked yet.

        Args:
            uri: `gs://BUCKET` or `gs://BUCKET/PATH`.
            patience_s: how long a call is tried again, and at most about twice as long waited for.

        Raises:
            InputError: the URI names no folder in a bucket.
        """
        bucket, _, path = uri.removeprefix(SCHEME).partition("/")
        parts = path.strip("/").split("/") if path.strip("/") else []
        is_plain = path.isprintable() and not re.search(r"[?#\[\]*]", path)
        if not uri.startswith(SCHEME) or not is_bucket_name(bucket) or {"", ".", ".."} & {*parts} or not is_plain:
            raise InputError(f"{uri!r} is not a folder in a bucket. Pass gs://BUCKET/PATH.")
        self.uri = "/".join((f"{SCHEME}{bucket}", *parts))
        self._bucket_name = bucket
        self._prefix = "".join(f"{part}/" for part in parts)
        self._patience_s = patience_s
        # To connect, and between two bytes of an answer.
        self._timeout_s = (min(_TIMEOUT_S, patience_s / _CONNECTIONS), min(_TIMEOUT_S, patience_s))

    def at(self, name: str) -> str:
        """Give the URI of an object, or of a folder below this one."""
        return f"{self.uri}/{name}"

    def objects(self, folder: str) -> dict[str, StoredObject]:
        """Give the objects below a folder of this one by their names in it."""
        start = f"{self._prefix}{folder}/"
        with self._in_words(folder, "listed"):
            listed = self._client.list_blobs(
                self._bucket_name, prefix=start, retry=self._retry, timeout=self._timeout_s
            )
            found = list(listed)
        return {blob.name.removeprefix(start): StoredObject(blob.size, blob.md5_hash or "") for blob in found}

    def read(self, name: str) -> StoredContent | None:
        """Give an object's content, or None where there is no such object."""
        from google.api_core.exceptions import GoogleAPIError, NotFound

        blob = self._blob(name)
        with self._in_words(name, "read"):
            try:
                content = blob.download_as_bytes(retry=self._retry, timeout=self._timeout_s)
            except NotFound:
                # Which of the two is missing? Whoever may only read and write objects cannot ask for the bucket.
                found = self._client.list_blobs(
                    self._bucket_name, max_results=1, retry=self._retry, timeout=self._timeout_s
                )
                next(iter(found), None)
                return None
            if blob.generation is None:
                # What stands in between has answered in its place, as the sign-in page of a network does.
                raise GoogleAPIError("it names no generation")
        return StoredContent(content, int(blob.generation))

    def write(self, name: str, content: bytes, *, generation: int) -> bool:
        """Write an object if it still is of that generation; 0: if it is not there.

        https://cloud.google.com/storage/docs/request-preconditions

        Returns:
            False where the condition does not hold. That may be due to this very call: it is sent again where its
            reply is lost, and what was written then is what it meets.
        """
        from google.api_core.exceptions import PreconditionFailed

        with self._in_words(name, "written"):
            try:
                self._blob(name).upload_from_string(
                    content,
                    content_type="application/json",
                    if_generation_match=generation,
                    retry=self._retry,
                    timeout=self._timeout_s,
                )
            except PreconditionFailed:
                return False
        return True

    def upload(self, name: str, source: Path) -> None:
        """Upload a file as an object, whole or not at all, held against its checksum; replaces what is there."""
        with self._in_words(name, "written"):
            self._blob(name).upload_from_filename(str(source), retry=self._retry, timeout=self._timeout_s)

    def download(self, name: str, target: Path) -> bool:
        """Download an object to a file, held against its checksum; False where there is no such object."""
        from google.api_core.exceptions import NotFound

        target.parent.mkdir(parents=True, exist_ok=True)
        with self._in_words(name, "read"):
            try:
                self._blob(name).download_to_filename(str(target), retry=self._retry, timeout=self._timeout_s)
            except NotFound:
                return False
        return True

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        from google.api_core.exceptions import NotFound

        with self._in_words(name, "deleted"):
            try:
                self._blob(name).delete(retry=self._retry, timeout=self._timeout_s)
            except NotFound:
                return

    @cached_property
    def _client(self) -> Any:
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud.storage import Client

        try:
            # A project is asked for only to make buckets.
            return Client(project=None)
        except OSError as error:
            raise DefaultCredentialsError(f"{error.filename}: {error.strerror}") from error

    @cached_property
    def _retry(self) -> Any:
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self._patience_s)

    def _blob(self, name: str) -> Any:
        with self._in_words(name, "read"):
            return self._client.bucket(self._bucket_name).blob(f"{self._prefix}{name}")

    @contextmanager
    def _in_words(self, name: str, done: str) -> Iterator[None]:
        """Put the client's errors into one line; `done` is what was to be done with the object."""
        from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthorized
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
        from google.cloud.storage.exceptions import DataCorruption
        from requests import RequestException  # type: ignore[import-untyped]

        uri = self.at(name)
        try:
            yield
        except NotFound as error:
            raise InputError(
                f"There is no bucket gs://{self._bucket_name}. Check its name, or make it: gcloud storage buckets "
                f"create gs://{self._bucket_name}"
            ) from error
        except Forbidden as error:
            raise InputError(
                f"{uri} may not be {done}: {_words(error)}. Grant this account roles/storage.objectUser on the bucket."
            ) from error
        except DefaultCredentialsError as error:
            raise InputError(
                f"{uri} cannot be {done}: no usable Google Cloud credentials ({_words(error)}). Sign in (gcloud auth "
                "application-default login), or give the task an account."
            ) from error
        except (Unauthorized, RefreshError) as error:
            raise InputError(
                f"{uri} cannot be {done}: Google refuses the credentials ({_words(error)}). Renew them."
            ) from error
        except (GoogleAPIError, GoogleAuthError, DataCorruption, RequestException) as error:
            raise TunelaneError(
                f"{uri} was not {done}: Cloud Storage does not answer as it should ({_words(error)}). Check the "
                "network and a proxy, and try again."
            ) from error


def _words(error: BaseException) -> str:
    """What the service says, in one line without a full stop; of a call that was given up, what it said last."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return _words(cause)
    response = getattr(error, "response", None)
    try:
        # The client's own words are the address and the whole body.
        said = str(response.json()["error"]["message"])  # type: ignore[union-attr]
    except (AttributeError, ValueError, KeyError, TypeError):
        # Errors of the credentials have their words first, and then what they were made from.
        said = str(getattr(response, "text", "") or getattr(error, "message", "") or (*error.args, "")[0])
    return " ".join(said.split())[:300].rstrip(".:") or type(error).__name__
