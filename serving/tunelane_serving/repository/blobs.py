"""Where the packages of the repository lie: a folder, or a bucket with a folder before it."""

import os
import re
from pathlib import Path
from typing import Protocol

from tunelane_serving.errors import ContractError, DigestMismatch, TunelaneError
from tunelane_serving.files import directory_written_atomically, locked
from tunelane_serving.package import MANIFEST, is_whole, put_package, read_manifest, verify
from tunelane_serving.problems import NotFound

_DIGEST = re.compile("[0-9a-f]{64}")


class Blobs(Protocol):
    """Packages by digest. They are put once and never changed."""

    def put(self, package: Path, digest: str) -> None:
        """Keep the package at `package`, which `digest` names, durable on return; one that is there stays.

        Raises:
            ContractError: it is not a whole package, or another one.
        """

    def local(self, digest: str) -> Path:
        """Give a directory of this machine that holds the package.

        Its manifest is the right one; who loads the package verifies the rest.

        Raises:
            NotFound: there is no such package.
            ContractError: it is damaged, or cannot be read.
        """


class ObjectStorage(Protocol):
    """Objects below a prefix, named relative to it."""

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""

    def download(self, name: str, target: Path) -> None:
        """Download an object to the file `target`, whole or not at all."""

    def upload(self, name: str, source: Path) -> None:
        """Upload the file `source` as an object, whole or not at all."""


class FolderBlobs:
    """Packages in a folder, each in a directory named by its digest. Instances that share the folder take turns."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, package: Path, digest: str) -> None:
        """See Blobs."""
        target = self._root / _checked(digest)
        with locked(_lock(target)):
            put_package(package, target, digest)
            _synchronize(target)

    def local(self, digest: str) -> Path:
        """See Blobs."""
        target = self._root / _checked(digest)
        try:
            is_there = target.is_dir()
        except OSError as error:
            raise ContractError(f"{target}: {error.strerror}") from error
        if not is_there:
            raise NotFound(f"The repository has no package {digest[:12]}; upload it again")
        read_manifest(target, expected_digest=digest)
        return target


class BucketBlobs:
    """Packages in a bucket: one object a file, under the package's digest, the manifest last.

    So a package is there when its manifest is. What is asked for is downloaded once, verified, into the folder `cache`.
    """

    def __init__(self, storage: ObjectStorage, cache: Path) -> None:
        self._storage = storage
        self._cache = cache

    def put(self, package: Path, digest: str) -> None:
        """See Blobs."""
        manifest = verify(package, expected_digest=_checked(digest))
        if not self._storage.exists(f"{digest}/{MANIFEST}"):
            for path in (*(file.path for file in manifest.files), MANIFEST):
                self._storage.upload(f"{digest}/{path}", package / path)
        # Who uploads a model will be asked for it next.
        target = self._cache / digest
        with locked(_lock(target)):
            put_package(package, target, digest)

    def local(self, digest: str) -> Path:
        """See Blobs.

        Raises:
            NotFound: there is no such package.
            DigestMismatch: what is in the bucket is not the package.
            TunelaneError: the bucket does not answer, or the disk does not take the package.
        """
        target = self._cache / _checked(digest)
        try:
            # Whoever waits here finds it fetched.
            with locked(_lock(target)):
                # A copy that a power cut has damaged is fetched again.
                if not is_whole(target, digest):
                    self._fetch(digest, target)
        except OSError as error:
            raise TunelaneError(
                f"Cannot keep package {digest[:12]} in {self._cache}: {error.strerror}. Make room, and let "
                "the server write there."
            ) from error
        return target

    def _fetch(self, digest: str, target: Path) -> None:
        if not self._storage.exists(f"{digest}/{MANIFEST}"):
            raise NotFound(f"The bucket has no package {digest[:12]}; upload it again")
        with directory_written_atomically(target) as scratch:
            self._storage.download(f"{digest}/{MANIFEST}", scratch / MANIFEST)
            # The manifest is the right one before its paths are written to.
            for file in read_manifest(scratch, expected_digest=digest).files:
                (scratch / file.path).parent.mkdir(parents=True, exist_ok=True)
                self._storage.download(f"{digest}/{file.path}", scratch / file.path)
            verify(scratch, expected_digest=digest)


def _checked(digest: str) -> str:
    """Give `digest`, which becomes a file's name; raises DigestMismatch where it is none."""
    if not _DIGEST.fullmatch(digest):
        raise DigestMismatch(f"{digest!r} is no SHA-256 in small hexadecimal digits")
    return digest


def _lock(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _synchronize(package: Path) -> None:
    """Wait until the package and its name are on the disk: the database will say that it is there."""
    for path in (*package.rglob("*"), package, package.parent):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
