"""A registry for one machine: MLflow's model registry in an SQLite file, with the packages beside it.

```
<directory>/registry.db         MLflow's: models, versions, tags, aliases; `mlflow ui` reads it
<directory>/registry.db.lock    held around everything that is done with it
<directory>/packages/<digest>/  each package once, whatever models and versions it has
```
"""

import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tunelane_components.registry.interface import ModelVersion, RegisteredVersion, is_model_name, require_model_name
from tunelane_components.registry.succession import LONGEST_SUCCESSION, moved, require_champion
from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.files import locked
from tunelane_serving.package import package_digest, put_package, read_manifest

_CHAMPION = "champion"
_DIGEST_TAG = "tunelane.digest"
_TAXONOMY_TAG = "tunelane.taxonomy_digest"
_SUCCESSION_TAG = "tunelane.succession"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SQLITE_HEADER = b"SQLite format 3\0"


class MlflowRegistry:
    """An implementation of `Registry` on an MLflow database file.

    MLflow sets an alias unconditionally and has no "set it if it still is": two runs that read the same champion would
    both write. So whatever is done happens under a file lock beside the database, and a file-based registry is for the
    processes of one machine. The lock also covers the making and migrating of the tables, which MLflow does on opening.
    """

    def __init__(self, database: Path) -> None:
        """Name the database; it is made by the first registration.

        Args:
            database: an absolute path.

        Raises:
            InputError: the path is relative, or has a character that means something else in a database URL.
        """
        if not database.is_absolute():
            raise InputError(f"The registry's path {str(database)!r} is relative. Give it from the root.")
        if re.search("[%?#]", str(database)):
            raise InputError(f"The registry's path {str(database)!r} has '%', '?' or '#'. Choose another directory.")
        self._database = database
        self._opened: Any = None

    def names(self) -> list[str]:
        """The models by name, sorted; none, and nothing is made, where there is no registry yet.

        Another tool's models are passed over where their names are none here.

        Raises:
            InputError: the file is no registry.
        """
        if not self._exists():
            return []
        with self._client() as client:
            names = [str(model.name) for model in _every_page(client.search_registered_models)]
        return sorted(filter(is_model_name, names))

    def versions(self, name: str) -> list[RegisteredVersion]:
        """The versions of `name`, the newest first; none where there is no such model.

        Raises:
            InputError: the name cannot be used, or the file is no registry.
        """
        require_model_name(name)
        if not self._exists():
            return []
        with self._client() as client:
            champion = _champion_version(client, name)
            found = list(_every_page(client.search_model_versions, f"name = '{name}'"))
        listed = [self._listed(version, champion) for version in found]
        return sorted(listed, key=lambda version: int(version.version), reverse=True)

    def register_candidate(self, name: str, package: Path, tags: Mapping[str, str]) -> ModelVersion:
        """Store a verified package as a new version of `name`; the same digest again gives the version it has.

        `tags` are those of the first time: a version is never edited.

        Raises:
            InputError: the name or the place cannot be used.
            ContractError: `package` is not a whole package.
            DigestMismatch: a file of it was changed.
        """
        require_model_name(name)
        digest = package_digest(package)
        manifest = read_manifest(package, expected_digest=digest)
        taxonomy_digest = manifest.taxonomy.digest if manifest.taxonomy else ""
        stored = self._package_path(digest)
        with self._client(create=True) as client:
            # The package first: a run killed after it leaves a package without a version, which the next one uses.
            put_package(package, stored, digest)
            known = _version_of_digest(client, name, digest)
            if known is not None:
                return known
            _create_model(client, name)
            created = client.create_model_version(
                name, str(stored), tags={**tags, _DIGEST_TAG: digest, _TAXONOMY_TAG: taxonomy_digest}
            )
            return _model_version(created)

    def champion(self, name: str) -> ModelVersion | None:
        """Give the champion of `name`, or None.

        Raises:
            InputError: the name cannot be used, or the champion was not registered by Tunelane.
        """
        require_model_name(name)
        # The first run of all has nothing to ask: it need not wait for MLflow to load.
        if not self._exists():
            return None
        with self._client() as client:
            version = _champion_version(client, name)
            return _model_version(client.get_model_version(name, version)) if version is not None else None

    def succession(self, name: str) -> list[str]:
        """Versions of `name` that a rollback can go through, oldest first; the last one is champion, if there is one.

        Whoever becomes champion is added. Moving back to a version that stands in it takes away those after it: what
        was taken back is never the previous champion again. Versions that were deleted are passed over.

        Raises:
            InputError: the name cannot be used, or the file is no registry.
        """
        require_model_name(name)
        if not self._exists():
            return []
        with self._client() as client:
            kept = {str(found.version) for found in _every_page(client.search_model_versions, f"name = '{name}'")}
            return [version for version in _succession(client, name) if version in kept]

    def move_champion(self, name: str, *, expected: str | None, to: str | None) -> None:
        """Make version `to` champion if version `expected` still is, in one step; None stands for nobody.

        Raises:
            InputError: `name` has no version `to`.
            ChampionMoved: another run was faster.
        """
        require_model_name(name)
        with self._client() as client:
            current = _champion_version(client, name)
            require_champion(name, current, expected)
            if to is not None:
                _require_version(client, name, to)
            elif current is None:
                return
            # Before the alias: whoever is killed between the two leaves one that `_succession` makes whole again.
            _write_succession(client, name, moved(_succession(client, name), current, to))
            if to is not None:
                client.set_registered_model_alias(name, _CHAMPION, to)
            else:
                client.delete_registered_model_alias(name, _CHAMPION)

    def fetch(self, name: str, digest: str, target: Path) -> ModelVersion:
        """Put the package of that digest at `target`, verified.

        Raises:
            InputError: `name` has no such version.
            DigestMismatch: what is stored is not what was registered.
        """
        require_model_name(name)
        with self._client() as client:
            found = _version_of_digest(client, name, digest)
        if found is None:
            raise InputError(f"{name!r} has no version with digest {digest[:12]} in {self._database}.")
        put_package(self._package_path(digest), target, digest)
        return found

    def _listed(self, found: Any, champion: str | None) -> RegisteredVersion:
        digest = str(found.tags.get(_DIGEST_TAG, ""))
        return RegisteredVersion(
            name=str(found.name),
            version=str(found.version),
            digest=digest,
            registered_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
            is_champion=str(found.version) == champion,
            package=str(self._package_path(digest)) if digest else str(found.source),
            tags=dict(found.tags),
        )

    def _package_path(self, digest: str) -> Path:
        """Where a package lies: beside the database, so that the directory can be moved as a whole."""
        return self._database.parent / "packages" / digest

    def _exists(self) -> bool:
        """Whether the database is there; raises InputError where the file is something else."""
        try:
            with self._database.open("rb") as stream:
                header = stream.read(len(_SQLITE_HEADER))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InputError(f"Cannot read the registry {self._database}: {error.strerror}.") from error
        # An empty file is one that SQLite was asked to make and never wrote to.
        if header not in (b"", _SQLITE_HEADER):
            raise InputError(f"{self._database} is not an SQLite file. Set registry_uri to another path.")
        return header != b""

    @contextmanager
    def _client(self, *, create: bool = False) -> Iterator[Any]:
        """Give an `MlflowClient` on the database, with the lock held; MLflow's errors become errors of one line."""
        if not create and not self._exists():
            raise InputError(f"There is no registry at {self._database} yet; a registration makes it.")
        # Read on import: nothing is to be reported over the network.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        with locked(self._database.with_name(f"{self._database.name}.lock")):
            try:
                if not self._exists():
                    self._create_database()
                if self._opened is None:
                    self._opened = _open_client(self._database)
                yield self._opened
            except (MlflowException, SQLAlchemyError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise TunelaneError(f"The registry {self._database} does not answer: {reason}") from error

    def _create_database(self) -> None:
        """Make the tables under another name, then rename: MLflow cannot go on from migrations that were cut short."""
        with tempfile.TemporaryDirectory(dir=self._database.parent, prefix=f".{self._database.name}.") as scratch:
            unfinished = Path(scratch) / self._database.name
            _open_client(unfinished)
            unfinished.replace(self._database)


def _open_client(database: Path) -> Any:
    from mlflow.tracking import MlflowClient

    # The progress of migrations is no news to the user.
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    uri = f"sqlite:///{database}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    # The registry's tables are opened, and made, on first use.
    client.search_registered_models(max_results=1)
    return client


def _every_page(search: Callable[..., Any], *arguments: str) -> Iterator[Any]:
    """What an MLflow search finds, all of it: one call gives a page."""
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _create_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _champion_version(client: Any, name: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_registered_model(name).aliases.get(_CHAMPION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return str(version) if version is not None else None


def _succession(client: Any, name: str) -> list[str]:
    """The succession as it is written, put right by the alias, which alone says who is champion.

    The two differ where a process was killed between writing them, where the champion is of a time before successions
    were written, or where somebody set the alias in MLflow.
    """
    written = _written_succession(client, name)
    champion = _champion_version(client, name)
    return written if champion is None else moved(written, champion, champion)


def _written_succession(client: Any, name: str) -> list[str]:
    from mlflow.exceptions import MlflowException

    try:
        text = client.get_registered_model(name).tags.get(_SUCCESSION_TAG, "[]")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        # Somebody edited it in MLflow: it is begun anew.
        return []


def _write_succession(client: Any, name: str, succession: Sequence[str]) -> None:
    client.set_registered_model_tag(
        name, _SUCCESSION_TAG, msgspec.json.encode(succession[-LONGEST_SUCCESSION:]).decode()
    )


def _require_version(client: Any, name: str, version: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise InputError(f"{name!r} has no version {version!r}.") from error


def _version_of_digest(client: Any, name: str, digest: str) -> ModelVersion | None:
    if not _DIGEST.fullmatch(digest):
        return None
    found = client.search_model_versions(f"name = '{name}' AND tag.`{_DIGEST_TAG}` = '{digest}'")
    return _model_version(found[0]) if found else None


def _model_version(found: Any) -> ModelVersion:
    if _DIGEST_TAG not in found.tags:
        raise InputError(
            f"Version {found.version} of {found.name!r} has no tag {_DIGEST_TAG}: it was not registered by Tunelane. "
            f"Move the alias {_CHAMPION!r} to a version that was."
        )
    return ModelVersion(found.name, str(found.version), found.tags[_DIGEST_TAG], found.tags.get(_TAXONOMY_TAG, ""))
