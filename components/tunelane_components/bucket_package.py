"""Model packages in a bucket: `<folder>/manifest.json` beside the files that it names, each as an object of its own."""

import base64
import hashlib
from pathlib import Path

from tunelane_components.bucket import BucketFolder, StoredObject
from tunelane_serving.contract import decode
from tunelane_serving.errors import ContractError, DigestMismatch
from tunelane_serving.files import directory_written_atomically, sha256_bytes
from tunelane_serving.package import MANIFEST, Manifest, read_manifest, verify, verify_files

_CHUNK_BYTES = 1 << 20


def upload_package(bucket: BucketFolder, folder: str, package: Path, digest: str) -> None:
    """Put a package into a folder of a bucket, verified; what is there already, by its MD5, is not sent again.

    The manifest goes last: where it is, all is. Two callers may do it at once, since they send the same.

    Raises:
        ContractError: `package` is not a whole package.
        DigestMismatch: it is not the one that `digest` names, or a file was changed.
        InputError, TunelaneError: as `BucketFolder` has it.
    """
    manifest = verify(package, expected_digest=digest)
    stored = bucket.objects(folder)
    for path in (*(file.path for file in manifest.files), MANIFEST):
        if not _is_stored(stored.get(path), package / path):
            bucket.upload(f"{folder}/{path}", package / path)


def download_package(bucket: BucketFolder, folder: str, target: Path, digest: str) -> None:
    """Put the package in a folder of a bucket at `target`, verified, whole or not at all.

    Raises:
        ContractError: it is not whole there.
        DigestMismatch: it is not the one that `digest` names, or a file was changed.
        InputError, TunelaneError: as `BucketFolder` has it.
    """
    with directory_written_atomically(target) as scratch:
        try:
            _require(bucket.download(f"{folder}/{MANIFEST}", scratch / MANIFEST), bucket, folder, MANIFEST)
            # Nothing else is fetched on the word of a manifest that is not the expected one.
            manifest = read_manifest(scratch, expected_digest=digest)
            for file in manifest.files:
                _require(bucket.download(f"{folder}/{file.path}", scratch / file.path), bucket, folder, file.path)
            verify_files(scratch, manifest.files)
        except ContractError as error:
            # Where it was put is gone by the time that this is read.
            raise type(error)(str(error).replace(str(scratch), bucket.at(folder))) from error


def read_stored_manifest(bucket: BucketFolder, folder: str, digest: str) -> Manifest:
    """Read the manifest of a package in a bucket, and nothing else of it.

    Raises:
        ContractError: there is none, or it breaks the contract.
        DigestMismatch: it is not of the package that `digest` names.
        InputError, TunelaneError: as `BucketFolder` has it.
    """
    found = bucket.read(f"{folder}/{MANIFEST}")
    if found is None:
        raise _missing(bucket, folder, MANIFEST)
    there = sha256_bytes(found.content)
    if there != digest:
        raise DigestMismatch(f"{bucket.at(folder)}: package digest is {there[:12]}, expected {digest[:12]}")
    return decode(found.content, Manifest, bucket.at(f"{folder}/{MANIFEST}"))


def check_stored_package(bucket: BucketFolder, folder: str, digest: str) -> None:
    """Check that a folder of a bucket has the package's manifest, and each of its files in its size.

    Contents are not read: whoever fetches a package verifies it.

    Raises:
        ContractError: a file is missing, or the manifest is broken.
        DigestMismatch: it is another package, or a file has another size.
        InputError, TunelaneError: as `BucketFolder` has it.
    """
    manifest = read_stored_manifest(bucket, folder, digest)
    stored = bucket.objects(folder)
    for file in manifest.files:
        found = stored.get(file.path)
        if found is None:
            raise _missing(bucket, folder, file.path)
        if found.size_bytes != file.size_bytes:
            uri = bucket.at(f"{folder}/{file.path}")
            raise DigestMismatch(f"{uri}: {found.size_bytes} bytes, the manifest says {file.size_bytes}")


def _is_stored(stored: StoredObject | None, path: Path) -> bool:
    return stored is not None and stored.size_bytes == path.stat().st_size and stored.md5 == _md5(path)


def _md5(path: Path) -> str:
    """MD5 of a file in base64, as Cloud Storage gives it."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()


def _require(is_there: bool, bucket: BucketFolder, folder: str, path: str) -> None:
    if not is_there:
        raise _missing(bucket, folder, path)


def _missing(bucket: BucketFolder, folder: str, path: str) -> ContractError:
    return ContractError(f"{bucket.at(folder)}: {path} is missing")
