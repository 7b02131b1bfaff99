"""Getting a model: whatever names it, the package then lies verified in a directory of this machine.

```
<home>/packages/<digest>/    model packages, each whole and never edited
<home>/sources/<id>.json     which package was made of a source that has no digest of its own
```
"""

import importlib.metadata
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec

from tunelane_serving.contract import read, write
from tunelane_serving.errors import ContractError, DigestMismatch, InputError, first_line
from tunelane_serving.fetching.shown import shown
from tunelane_serving.files import home_expanded, locked, locked_if_free, sha256_bytes, sha256_file
from tunelane_serving.package import MANIFEST, is_whole, package_digest, put_package, read_manifest
from tunelane_serving.problems import BadPackage

BUILDERS = "tunelane.package_builders"
"""Entry point group of what builds packages: `sample` for `sample://NAME`, `model` for all else."""

_GS, _HTTPS, _SAMPLE = "gs://", "https://", "sample://"
_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
# What transformers and the checkpoint stage write beside the weights.
_MODEL_FILES = ("config.json", "tunelane.json")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_ARCHIVE_BYTES = 4 << 30
_MAX_UNPACKED_BYTES = 8 << 30
_MAX_FILES = 200
_MEGABYTE = 1e6
_LOCK, _STAGING = ".ensure.lock", ".staging"


class Builder(Protocol):
    """Makes a model package of a checkpoint or a base model."""

    def __call__(self, source: str, target: Path, *, say: Callable[[str], None]) -> None:
        """Write the package of the model that `source` names to the directory `target`; `say` takes the progress."""
        ...


class KeptSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which package was made of a source.

    `fingerprint` is of its files where it was unpacked or built of what is on this machine, and empty where not.
    """

    source: str
    fingerprint: str
    digest: str
    version: Literal[1] = 1


def ensure_model(
    uri: str, digest: str | None, home: Path, *, say: Callable[[str], None], builder: Builder | None = None
) -> Path:
    """Give the directory of the model package that `uri` names, `<home>/packages/<digest>`, fetched or built if needed.

    A package is verified, whole or not there, and where it lies intact nothing is fetched. One process works in a
    `home` at a time; the others wait for it. A process that is killed leaves nothing half-done: the next one clears up.

    Args:
        uri: a package: a directory, an archive (.tar.gz, .tgz, .tar, .zip), `file://`, `gs://` (folder or archive) or
            `https://` (archive). Or a model to build one of: a directory with config.json and weights, `sample://NAME`,
            a Hugging Face hub id. What was built of a source once is not built again, unless its files changed.
        digest: SHA-256 of the package's manifest; None is for what lies on this machine or is built here.
        home: where packages are kept; made if it is missing.
        say: takes the numbered steps.
        builder: what builds packages; None: what is installed under the entry point group `tunelane.package_builders`.

    Raises:
        InputError: there is nothing at `uri`, it is no model or cannot be read, a remote package came without a digest,
            a builder is needed and not installed, or `home` cannot be written.
        DigestMismatch: it is not the package that `digest` names.
        ContractError: it is not a whole package.
        TunelaneError: it cannot be fetched or built.
    """
    _check(uri, digest)
    say(f"1/4 Looking for {shown(uri)} in {home}")
    try:
        found = _kept(uri, digest, home)
        if found is None:
            with locked(home / _LOCK), _staging(home) as staging:
                # Whoever held the lock before may have brought it.
                found = _kept(uri, digest, home) or _bring(uri, digest, home, staging, say, builder)
        elif (home / _STAGING).exists():
            # Somebody works there, or was killed between the package's last step and clearing up.
            with locked_if_free(home / _LOCK) as free:
                if free:
                    shutil.rmtree(home / _STAGING, ignore_errors=True)
        say(f"4/4 Ready: {found}")
    except OSError as error:
        raise _unusable(uri, home, error) from error
    return found


def _unusable(uri: str, home: Path, error: OSError) -> InputError:
    """Name the file that failed where it is none of the home's."""
    reason = error.strerror or error
    # A copy names two files, and a full disk is that of the second.
    name = error.filename2 or error.filename
    if isinstance(name, str) and not Path(name).is_relative_to(home):
        return InputError(f"Cannot use {name}: {reason}. See that you have the right to read it.")
    return InputError(f"Cannot keep {shown(uri)} in {home}: {reason}. Choose another home.")


def _check(uri: str, digest: str | None) -> None:
    """Refuse what can be seen to be wrong before anything is looked up."""
    if not uri.strip():
        raise InputError("No model was given. Pass a directory, an archive, gs://BUCKET/FOLDER or https://….")
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} is not a digest. Pass the 64 hex digits of the package's SHA-256.")
    if digest is None and uri.startswith((_GS, _HTTPS)):
        raise InputError(f"{shown(uri)} is remote: pass its expected digest, the SHA-256 of the package's {MANIFEST}.")
    try:
        path = urlsplit(uri).path if "://" in uri else ""
        _record_path(uri, Path())
    except ValueError as error:  # brackets without an end, bytes that are no text
        raise InputError(
            f"{shown(uri)!a} cannot be taken apart: {first_line(error)}. Pass a path, or a URI."
        ) from error
    if uri.startswith(_HTTPS) and not path.endswith(_ARCHIVE_SUFFIXES):
        raise InputError(f"{shown(uri)} is not an archive. Over https:// pass one of {', '.join(_ARCHIVE_SUFFIXES)}.")
    if "://" in uri and not uri.startswith((_GS, _HTTPS, _SAMPLE, "file://")):
        raise InputError(f"{shown(uri)} cannot be read here. Pass a path, file://, gs:// or https://.")


def _kept(uri: str, digest: str | None, home: Path) -> Path | None:
    """Give the package if it lies in `home` already, intact."""
    wanted = digest or _digest_of_source(uri, home)
    if wanted is None:
        return None
    package = home / "packages" / wanted
    return package if is_whole(package, wanted) else None


def _digest_of_source(uri: str, home: Path) -> str | None:
    """Say which package `uri` is, or was made into, if that is known without making it."""
    path = _local_path(uri)
    if path is not None and (path / MANIFEST).is_file():
        return package_digest(path)
    try:
        kept = read(_record_path(uri, home), KeptSource)
    except ContractError:
        return None
    # A source that is gone cannot have changed: an image may hold the package without what it was built of.
    unchanged = path is None or not path.exists() or _fingerprint(path) == kept.fingerprint
    return kept.digest if unchanged else None


def _bring(
    uri: str, digest: str | None, home: Path, staging: Path, say: Callable[[str], None], builder: Builder | None
) -> Path:
    """Fetch or build the package into `staging`, and put it into `home`, verified."""
    path = _local_path(uri)
    fingerprint = ""
    package = staging / "package"
    try:
        if uri.startswith(_GS):
            _bring_from_bucket(uri, digest, package, staging, say, builder)
        elif uri.startswith(_HTTPS):
            _fetch_archive(uri, staging, say)
            _unpack(staging / "archive", package, say)
        elif path is not None and (path / MANIFEST).is_file():
            say(f"2/4 Nothing to fetch: {path} is a package on this machine")
            package = path
        elif path is not None and path.is_file() and path.name.endswith(_ARCHIVE_SUFFIXES):
            fingerprint = _fingerprint(path) if digest is None else ""
            _unpack(path, package, say)
        else:
            # A hub id looks like a path too, but file:// is one, whether anything is there or not.
            is_here = path is not None and (path.exists() or uri.startswith("file://"))
            source = str(path) if is_here else uri
            _require_model(source)
            fingerprint = _fingerprint(path) if digest is None and path is not None and path.exists() else ""
            _build(source, package, say, builder)
        say("3/4 Verifying every file against its digest")
        found = package_digest(package)
        if digest is not None and found != digest:
            raise DigestMismatch(f"{shown(uri)}: package digest is {found}, expected {digest}")
        target = home / "packages" / found
        put_package(package, target, found)
    except BadPackage as error:
        raise ContractError(f"{shown(uri)}: {error}") from error
    except ContractError as error:
        # Where it was staged is gone by the time that this is read.
        raise type(error)(str(error).replace(str(package), shown(uri))) from error
    if digest is None:
        write(_record_path(uri, home), KeptSource(_identity(uri), fingerprint, found))
    return target


def _bring_from_bucket(
    uri: str, digest: str | None, package: Path, staging: Path, say: Callable[[str], None], builder: Builder | None
) -> None:
    """Fetch a package from Cloud Storage: an archive, or a folder's files as its manifest lists them."""
    from tunelane_serving.fetching.gs import CloudStorage

    if uri.endswith(_ARCHIVE_SUFFIXES):
        folder, _, name = uri.rpartition("/")
        say(f"2/4 Fetching {shown(uri)}")
        CloudStorage(folder).download(name, staging / "archive")
        _unpack(staging / "archive", package, say)
        return
    storage = CloudStorage(uri)
    if not storage.exists(MANIFEST):
        if not any(storage.exists(name) for name in _MODEL_FILES):
            raise InputError(f"{uri} is not a model package: it has no {MANIFEST}. Pass the folder that holds one.")
        _build(uri, package, say, builder)
        return
    storage.download(MANIFEST, package / MANIFEST)
    # Nothing else is fetched on the word of a manifest that is not the expected one.
    manifest = read_manifest(package, expected_digest=digest)
    size_mb = sum(file.size_bytes for file in manifest.files) / _MEGABYTE
    say(f"2/4 Fetching {uri}: {len(manifest.files)} files, {size_mb:.1f} MB")
    for file in manifest.files:
        storage.download(file.path, package / file.path)


def _fetch_archive(uri: str, staging: Path, say: Callable[[str], None]) -> None:
    from tunelane_serving.fetching.http import Http

    say(f"2/4 Fetching {shown(uri)}")
    Http(redirects=True).download(uri, staging / "archive", max_bytes=_MAX_ARCHIVE_BYTES)


def _unpack(archive: Path, package: Path, say: Callable[[str], None]) -> None:
    from tunelane_serving.repository.archives import unpack

    say(f"2/4 Unpacking {archive.stat().st_size / _MEGABYTE:.1f} MB")
    unpack(archive, package, max_unpacked_bytes=_MAX_UNPACKED_BYTES, max_files=_MAX_FILES)


def _require_model(source: str) -> None:
    """Refuse a path that holds no checkpoint or base model, and what can be no name of one."""
    path = Path(source)
    if path.exists() and not any((path / name).is_file() for name in _MODEL_FILES):
        raise InputError(
            f"{source} is neither a model package (no {MANIFEST}) nor a model to build one of (no config.json)."
        )
    if not path.exists() and "://" not in source and not _HUB_ID.fullmatch(source):
        raise InputError(f"No such file or directory: {source}. Pass a model package, or a model to build one of.")


def _build(source: str, package: Path, say: Callable[[str], None], builder: Builder | None) -> None:
    """Build the package of a checkpoint or base model, where something that can is installed."""
    try:
        build = builder or _installed_builder("sample" if source.startswith(_SAMPLE) else "model")
        if build is None:
            raise ImportError(f"no entry point in {BUILDERS}")
        say(f"2/4 Building a package of {source}")
        build(source, package, say=lambda words: say(f"2/4 {words}"))
    except ImportError as error:
        raise InputError(
            f"{source} is not a model package; building one needs pip install 'tunelane[train]' ({error})."
        ) from error


def _installed_builder(name: str) -> Builder | None:
    """Load the builder of that name; raises ImportError where what it needs is not installed."""
    found = tuple(importlib.metadata.entry_points(group=BUILDERS, name=name))
    return cast(Builder, found[0].load()) if found else None


def _local_path(uri: str) -> Path | None:
    """Give the path that `uri` is; None for what is remote. A hub id looks like a path at which there is nothing."""
    if uri.startswith("file://"):
        return Path(url2pathname(urlsplit(uri).path))
    return None if "://" in uri else home_expanded(Path(uri))


def _identity(uri: str) -> str:
    """Give the name under which a source is remembered: absolute for what is local."""
    path = _local_path(uri)
    return uri if path is None else str(path.absolute())


def _record_path(uri: str, home: Path) -> Path:
    return home / "sources" / f"{sha256_bytes(_identity(uri).encode())[:32]}.json"


def _fingerprint(path: Path) -> str:
    """Digest of a file, or of the names and contents of all files under a directory."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256_bytes("".join(f"{file.relative_to(path)} {sha256_file(file)}\n" for file in files).encode())


@contextmanager
def _staging(home: Path) -> Iterator[Path]:
    """Give an empty directory to work in, under the lock: what is there was left by a process that was killed."""
    staging = home / _STAGING
    with suppress(FileNotFoundError):
        shutil.rmtree(staging)
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
