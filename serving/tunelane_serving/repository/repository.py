"""The versions of models and their stages, in SQL; the packages themselves are blobs."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from tunelane_serving.database.database import Database
from tunelane_serving.errors import ContractError
from tunelane_serving.package import Framework, Manifest, Task, Tensor, package_digest, read_manifest
from tunelane_serving.problems import BadPackage, InvalidRequest, NotFound, VersionExists
from tunelane_serving.repository.blobs import Blobs

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

Stage = Literal["development", "staging", "production"]
STAGES: tuple[Stage, ...] = ("development", "staging", "production")
MAX_METADATA_BYTES = 64 << 10
"""Of a version's metadata, as JSON."""

# Letters, digits, dots, dashes and underscores, the first a letter or digit; as wire.py has it.
_MODEL_ID = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REMEMBERED_S = 1.0
_MAX_REMEMBERED = 1024

_decode_tensors = msgspec.json.Decoder(tuple[Tensor, ...]).decode
_decode_labels = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_metadata = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class StoredVersion:
    """A version of a model: which package it is, and what is known of it. `uploaded_at` is seconds since the epoch."""

    model_id: str
    version: str
    digest: str
    framework: Framework
    task: Task
    stage: Stage
    size_bytes: int
    uploaded_at: float
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...]
    metadata: dict[str, Any]


class ModelRepository:
    """Versions by model id, ordered by upload. Blocking; safe to call from several threads and instances.

    A version is one package for good. At most one version of a model is in production.
    Every method raises DatabaseAway where the database does not answer.
    """

    def __init__(self, database: Database, blobs: Blobs, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._remembering = threading.Lock()
        # When it was looked up, and what was found.
        self._remembered: dict[tuple[str, str | None], tuple[float, StoredVersion]] = {}
        self._changes = 0

    def add(self, model_id: str, version: str | None, package: Path, metadata: dict[str, Any]) -> StoredVersion:
        """Add a package as a version of a model, in development; the model is made by its first version.

        The same package under the same version again gives what is stored, and changes nothing.

        Args:
            model_id: letters, digits, dots, dashes and underscores, at most 128.
            version: the same, at most 64; None takes the number of the upload, or the next that is free.
            package: a directory.
            metadata: JSON, at most 64 kB.

        Raises:
            InvalidRequest: a name or the metadata cannot be stored.
            VersionExists: another package is this version.
            BadPackage: it is not a whole package.
        """
        from sqlalchemy import insert

        from tunelane_serving.database.tables import model_versions as table

        _check_model_id(model_id)
        if version is not None and not _VERSION.fullmatch(version):
            raise InvalidRequest(f"version: {version!r} is not 1 to 64 letters, digits, dots, dashes and underscores")
        encoded_metadata = _encode_metadata(metadata)
        try:
            digest = package_digest(package)
            manifest = read_manifest(package, expected_digest=digest)
            if version is not None:
                # Before anything is kept; once more below.
                with self._database.transaction() as connection:
                    _same_version(connection, model_id, version, digest)
            # Before the row, so that whatever has a row can be loaded, and outside of any transaction: it takes long.
            self._blobs.put(package, digest)
        except ContractError as error:
            raise BadPackage(str(error).replace(str(package), "the package")) from error
        with self._database.transaction(lock=_lock(model_id)) as connection:
            there = None if version is None else _same_version(connection, model_id, version, digest)
            if there is not None:
                return there
            number, free = _next(connection, model_id)
            stored = _described(model_id, version or free, digest, manifest, metadata)
            row = {
                "model_id": model_id,
                "version": stored.version,
                "number": number,
                "digest": digest,
                "framework": stored.framework,
                "task": stored.task,
                "stage": stored.stage,
                "size_bytes": stored.size_bytes,
                "uploaded_at": stored.uploaded_at,
                "inputs": msgspec.json.encode(stored.inputs).decode(),
                "outputs": msgspec.json.encode(stored.outputs).decode(),
                "labels": msgspec.json.encode(stored.labels).decode(),
                "metadata": encoded_metadata,
            }
            connection.execute(insert(table).values(**row))
        self._forget(model_id)
        return stored

    def get(self, model_id: str, version: str) -> StoredVersion:
        """Give one version; raises NotFound where there is none."""
        _require_names(model_id, version)
        with self._database.transaction() as connection:
            stored = _find(connection, model_id, version)
        if stored is None:
            raise _no_version(model_id, version)
        return stored

    def versions(self, model_id: str) -> list[StoredVersion]:
        """Give all versions of a model, the newest first; raises NotFound where there is none."""
        from sqlalchemy import select

        from tunelane_serving.database.tables import model_versions as table

        _require_names(model_id)
        query = select(table).where(table.c.model_id == model_id).order_by(table.c.number.desc())
        with self._database.transaction() as connection:
            found = [_stored(row) for row in connection.execute(query)]
        if not found:
            raise _no_model(model_id)
        return found

    def resolve(self, model_id: str, version: str | None) -> StoredVersion:
        """Give the version that a request means: the one it names, else the one in production, else the newest.

        What was found is remembered for a second, so a change by another instance shows after a second.

        Raises:
            NotFound: there is none.
        """
        stored = self.remembered(model_id, version)
        if stored is None:
            asked_at, changes = self._clock(), self._changes
            stored = self.get(model_id, version) if version is not None else self._serving(model_id)
            with self._remembering:
                if len(self._remembered) >= _MAX_REMEMBERED:
                    self._remembered.clear()
                # What was read before a change of this instance's own is not kept after it.
                if changes == self._changes:
                    self._remembered[model_id, version] = (asked_at, stored)
        return stored

    def remembered(self, model_id: str, version: str | None) -> StoredVersion | None:
        """Give what `resolve` found within the last second, without asking the database; None where it did not."""
        looked_up = self._remembered.get((model_id, version))
        if looked_up is None or self._clock() - looked_up[0] >= _REMEMBERED_S:
            return None
        return looked_up[1]

    def set_stage(self, model_id: str, version: str, stage: Stage) -> StoredVersion:
        """Move a version to a stage. Into production: the version that was there steps down to staging.

        Raises:
            InvalidRequest: there is no such stage.
            NotFound: there is no such version.
        """
        from sqlalchemy import update

        from tunelane_serving.database.tables import model_versions as table

        if stage not in STAGES:
            raise InvalidRequest(f"stage: {stage!r} is none of {', '.join(STAGES)}")
        _require_names(model_id, version)
        of_model = table.c.model_id == model_id
        with self._database.transaction(lock=_lock(model_id)) as connection:
            if _find(connection, model_id, version) is None:
                raise _no_version(model_id, version)
            if stage == "production":
                stepping_down = of_model & (table.c.stage == "production") & (table.c.version != version)
                connection.execute(update(table).where(stepping_down).values(stage="staging"))
            connection.execute(update(table).where(of_model & (table.c.version == version)).values(stage=stage))
            stored = _find(connection, model_id, version)
        self._forget(model_id)
        return cast(StoredVersion, stored)

    def package(self, digest: str) -> Path:
        """Give a directory of this machine with the package; fetched where it is not here.

        Raises:
            NotFound: there is no such package.
            ContractError: it is not what its digest says.
        """
        return self._blobs.local(digest)

    def _serving(self, model_id: str) -> StoredVersion:
        from sqlalchemy import select

        from tunelane_serving.database.tables import model_versions as table

        _require_names(model_id)
        in_production_first = (table.c.stage == "production").desc()
        query = (
            select(table)
            .where(table.c.model_id == model_id)
            .order_by(in_production_first, table.c.number.desc())
            .limit(1)
        )
        with self._database.transaction() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise _no_model(model_id)
        return _stored(row)

    def _forget(self, model_id: str) -> None:
        with self._remembering:
            self._changes += 1
            for key in [key for key in self._remembered if key[0] == model_id]:
                del self._remembered[key]


def _lock(model_id: str) -> str:
    return f"versions of {model_id}"


def _check_model_id(model_id: str) -> None:
    if not _MODEL_ID.fullmatch(model_id):
        raise InvalidRequest(f"modelId: {model_id!r} is not 1 to 128 letters, digits, dots, dashes and underscores")


def _encode_metadata(metadata: dict[str, Any]) -> str:
    try:
        content = msgspec.json.encode(metadata)
        # What JSON has no word for (NaN) becomes null; what is stored must read as what was given.
        if _decode_metadata(content) != metadata:
            raise InvalidRequest("metadata: not JSON values alone")
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidRequest(f"metadata: cannot be written as JSON: {error}") from error
    if len(content) > MAX_METADATA_BYTES:
        raise InvalidRequest(f"metadata: {len(content)} bytes of JSON; at most {MAX_METADATA_BYTES}")
    return content.decode()


def _described(model_id: str, version: str, digest: str, manifest: Manifest, metadata: dict[str, Any]) -> StoredVersion:
    return StoredVersion(
        model_id=model_id,
        version=version,
        digest=digest,
        framework=manifest.framework,
        task=manifest.task,
        stage="development",
        size_bytes=sum(file.size_bytes for file in manifest.files),
        uploaded_at=time.time(),
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        labels=manifest.taxonomy.names if manifest.taxonomy is not None else (),
        metadata=metadata,
    )


def _find(connection: "Connection", model_id: str, version: str) -> StoredVersion | None:
    from sqlalchemy import select

    from tunelane_serving.database.tables import model_versions as table

    row = connection.execute(select(table).where(table.c.model_id == model_id, table.c.version == version)).first()
    return None if row is None else _stored(row)


def _same_version(connection: "Connection", model_id: str, version: str, digest: str) -> StoredVersion | None:
    """Give the version if it is there; raises VersionExists where it is another package."""
    stored = _find(connection, model_id, version)
    if stored is not None and stored.digest != digest:
        raise VersionExists(
            f"Version {version!r} of {model_id!r} is package {stored.digest[:12]}, not {digest[:12]}; "
            "give the new one another version, or none"
        )
    return stored


def _next(connection: "Connection", model_id: str) -> tuple[int, str]:
    """Give the next upload's number, and the first number from there that is no version yet."""
    from sqlalchemy import select

    from tunelane_serving.database.tables import model_versions as table

    rows = connection.execute(select(table.c.number, table.c.version).where(table.c.model_id == model_id)).all()
    taken = {row.version for row in rows}
    number = free = max((row.number for row in rows), default=0) + 1
    while str(free) in taken:
        free += 1
    return number, str(free)


def _stored(row: "Row[Any]") -> StoredVersion:
    return StoredVersion(
        model_id=row.model_id,
        version=row.version,
        digest=row.digest,
        framework=row.framework,
        task=row.task,
        stage=row.stage,
        size_bytes=row.size_bytes,
        uploaded_at=row.uploaded_at,
        inputs=_decode_tensors(row.inputs),
        outputs=_decode_tensors(row.outputs),
        labels=_decode_labels(row.labels),
        metadata=_decode_metadata(row.metadata),
    )


def _require_names(model_id: str, version: str = "any") -> None:
    """Raise NotFound where nothing can have such names; PostgreSQL does not even take every text."""
    if not _MODEL_ID.fullmatch(model_id):
        raise _no_model(model_id)
    if not _VERSION.fullmatch(version):
        raise _no_version(model_id, version)


def _no_version(model_id: str, version: str) -> NotFound:
    return NotFound(f"The repository has no version {version!r} of a model {model_id!r}")


def _no_model(model_id: str) -> NotFound:
    return NotFound(f"The repository has no model {model_id!r}")
