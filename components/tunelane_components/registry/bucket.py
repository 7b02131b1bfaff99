"""A registry for many machines: a folder in a Cloud Storage bucket.

```
<folder>/models/<name>.json      a model: its versions, its champion, and who was champion before
<folder>/packages/<digest>/      each package once, whatever models and versions it has
```
"""

import random
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from tunelane_components.bucket import BucketFolder
from tunelane_components.bucket_package import download_package, upload_package
from tunelane_components.patience import STAGE_PATIENCE_S
from tunelane_components.registry.interface import ModelVersion, RegisteredVersion, is_model_name, require_model_name
from tunelane_components.registry.succession import LONGEST_SUCCESSION, moved, require_champion
from tunelane_serving.contract import decode, formatted
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.package import package_digest, read_manifest

_MODELS, _PACKAGES = "models", "packages"
# Of those that write at once, one succeeds in every round.
_ATTEMPTS = 50
_LONGEST_PAUSE_S = 1.0
# Cloud Storage takes one write a second of an object: https://cloud.google.com/storage/quotas. A write whose reply was
# lost is looked for within minutes.
_KEPT_WRITES = 100


class StoredVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version as its model's document has it; never edited."""

    number: str
    digest: str
    taxonomy_digest: str
    registered_at: datetime
    tags: Mapping[str, str]


class StoredModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's document.

    `succession` is oldest first and ends with the champion, if there is one. `writes` are ids of the last writes, by
    which a writer whose reply was lost knows its own.
    """

    name: str
    versions: tuple[StoredVersion, ...] = ()
    champion: str | None = None
    succession: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    version: Literal[1] = 1


class BucketRegistry:
    """An implementation of `Registry` on a folder in a bucket, for any number of machines at once.

    Every change of a model is one write of its document, on the condition that it still is of the generation that was
    read (https://cloud.google.com/storage/docs/request-preconditions): a true compare-and-set, without a lock. Whoever
    comes second reads again and decides anew.

    Every method raises InputError for what the user can mend (no such bucket, no right, no credentials), ContractError
    where a document is broken or newer than this release, and TunelaneError where Cloud Storage does not answer.
    """

    def __init__(self, uri: str, *, patience_s: float = STAGE_PATIENCE_S) -> None:
        """Name the folder; the first registration puts something into it.

        Args:
            uri: `gs://BUCKET/PATH`.
            patience_s: how long a call to Cloud Storage is tried again.

        Raises:
            InputError: the URI names no folder in a bucket.
        """
        self._bucket = BucketFolder(uri, patience_s=patience_s)

    def names(self) -> list[str]:
        """The models by name, sorted; none where there is no registry yet. Passes over what is no model's document."""
        documents = [name for name in self._bucket.objects(_MODELS) if name.endswith(".json")]
        return sorted(filter(is_model_name, (name.removesuffix(".json") for name in documents)))

    def versions(self, name: str) -> list[RegisteredVersion]:
        """The versions of `name`, the newest first; none where there is no such model."""
        model = self._model(name)
        listed = [
            RegisteredVersion(
                name=name,
                version=version.number,
                digest=version.digest,
                registered_at=version.registered_at,
                is_champion=version.number == model.champion,
                package=self._bucket.at(_package_folder(version.digest)),
                tags=version.tags,
            )
            for version in model.versions
        ]
        return listed[::-1]

    def register_candidate(self, name: str, package: Path, tags: Mapping[str, str]) -> ModelVersion:
        """Store a verified package as a new version of `name`; the same digest again gives the version it has.

        `tags` are those of the first time: a version is never edited.

        Raises:
            ContractError: `package` is not a whole package.
            DigestMismatch: a file of it was changed.
        """
        require_model_name(name)
        digest = package_digest(package)
        manifest = read_manifest(package, expected_digest=digest)
        taxonomy_digest = manifest.taxonomy.digest if manifest.taxonomy else ""
        # The package first: a run killed after it leaves a package without a version, which the next one uses.
        upload_package(self._bucket, _package_folder(digest), package, digest)

        def register(model: StoredModel) -> StoredModel:
            if _of_digest(model, digest) is not None:
                return model
            number = str(len(model.versions) + 1)
            version = StoredVersion(number, digest, taxonomy_digest, datetime.now(UTC), dict(tags))
            return msgspec.structs.replace(model, versions=(*model.versions, version))

        registered = _of_digest(self._change(name, register), digest)
        assert registered is not None  # noqa: S101 - either it was there or it was added
        return _model_version(name, registered)

    def champion(self, name: str) -> ModelVersion | None:
        """Give the champion of `name`, or None."""
        model = self._model(name)
        champion = next((version for version in model.versions if version.number == model.champion), None)
        return None if champion is None else _model_version(name, champion)

    def succession(self, name: str) -> list[str]:
        """Versions of `name` that a rollback can go through, oldest first; the last one is champion, if there is one.

        Whoever becomes champion is added. Moving back to a version that stands in it takes away those after it: what
        was taken back is never the previous champion again.
        """
        return list(self._model(name).succession)

    def move_champion(self, name: str, *, expected: str | None, to: str | None) -> None:
        """Make version `to` champion if version `expected` still is, in one step; None stands for nobody.

        Raises:
            InputError: `name` has no version `to`.
            ChampionMoved: another run was faster.
        """

        def move(model: StoredModel) -> StoredModel:
            require_champion(name, model.champion, expected)
            if to is not None and to not in {version.number for version in model.versions}:
                raise InputError(f"{name!r} has no version {to!r}.")
            succession = tuple(moved(model.succession, model.champion, to))[-LONGEST_SUCCESSION:]
            return msgspec.structs.replace(model, champion=to, succession=succession)

        self._change(name, move)

    def fetch(self, name: str, digest: str, target: Path) -> ModelVersion:
        """Put the package of that digest at `target`, verified.

        Raises:
            InputError: `name` has no such version.
            ContractError: what is stored is not whole.
            DigestMismatch: what is stored is not what was registered.
        """
        found = _of_digest(self._model(name), digest)
        if found is None:
            raise InputError(f"{name!r} has no version with digest {digest[:12]} in {self._bucket.uri}.")
        download_package(self._bucket, _package_folder(digest), target, digest)
        return _model_version(name, found)

    def _model(self, name: str) -> StoredModel:
        return self._read(name)[0]

    def _read(self, name: str) -> tuple[StoredModel, int]:
        """Read a model's document and its generation; one without versions, of generation 0, where there is none."""
        require_model_name(name)
        document = f"{_MODELS}/{name}.json"
        found = self._bucket.read(document)
        if found is None:
            return StoredModel(name), 0
        return decode(found.content, StoredModel, self._bucket.at(document)), found.generation

    def _change(self, name: str, change: Callable[[StoredModel], StoredModel]) -> StoredModel:
        """Read a model, change it, and write it if nobody wrote meanwhile; else begin again.

        `change` is called anew on what others wrote; what it raises ends this. Nothing is written where it changes
        nothing.

        Returns:
            The model with the change in it.

        Raises:
            TunelaneError: others were faster all the time.
        """
        write_id = uuid.uuid4().hex
        for attempt in range(_ATTEMPTS):
            model, generation = self._read(name)
            if write_id in model.writes:
                # It was written before, and the reply was lost.
                return model
            changed = change(model)
            if changed == model:
                return model
            changed = msgspec.structs.replace(changed, writes=(*model.writes, write_id)[-_KEPT_WRITES:])
            if self._bucket.write(f"{_MODELS}/{name}.json", formatted(changed), generation=generation):
                return changed
            time.sleep(random.uniform(0, min(0.05 * 2**attempt, _LONGEST_PAUSE_S)))  # noqa: S311 - no secret
        raise TunelaneError(
            f"{self._bucket.at(f'{_MODELS}/{name}.json')}: others wrote it {_ATTEMPTS} times before this run could. "
            "Try again when fewer runs end at once."
        )


def _package_folder(digest: str) -> str:
    return f"{_PACKAGES}/{digest}"


def _of_digest(model: StoredModel, digest: str) -> StoredVersion | None:
    return next((version for version in model.versions if version.digest == digest), None)


def _model_version(name: str, version: StoredVersion) -> ModelVersion:
    return ModelVersion(name, version.number, version.digest, version.taxonomy_digest)
