"""The repository over HTTP: `POST /model/upload`, versions and stages."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from tunelane_serving.backends.opening import holds_saved_model
from tunelane_serving.errors import TunelaneError
from tunelane_serving.models.loading import load_model
from tunelane_serving.package import Framework, Manifest, Tensor, package_digest, read_manifest
from tunelane_serving.problems import (
    BadPackage,
    BodyTooLarge,
    DatabaseAway,
    Forbidden,
    InvalidRequest,
    MalformedUpload,
    NotFound,
    NotReady,
    Problem,
    VersionExists,
)
from tunelane_serving.server.catalog import LOAD_AGAIN_S
from tunelane_serving.server.limits import Limits
from tunelane_serving.server.operation import Operation, decode_body, json_response, path_value, read_body
from tunelane_serving.server.services import Services
from tunelane_serving.server.wire import ModelId, ModelVersions, StageRequest, UploadedModel, Version

if TYPE_CHECKING:
    from tunelane_serving.repository.repository import ModelRepository, StoredVersion

_MAX_FIELD_BYTES = 64 << 10
# What surrounds the archive in a form: the other fields, the boundaries.
_MAX_FORM_BYTES = 1 << 20
_MODEL = {"model_id": ModelId}
_MODEL_VERSION = {"model_id": ModelId, "version": Version}


class UploadFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The fields of an upload beside the archive.

    `version` is the next number where it is not given. `framework`, `inputs` and `outputs` are what the uploader
    expects of the package; where they are given they must be what its manifest says. `metadata` is kept as it is.
    """

    model_id: ModelId
    version: Version | None = None
    framework: Framework | None = None
    inputs: tuple[Tensor, ...] | None = None
    outputs: tuple[Tensor, ...] | None = None
    metadata: dict[str, Any] = {}


async def upload(request: Request, services: Services) -> Response:
    """Answer `POST /model/upload`: unpacked, verified and loaded once before the repository has it."""
    repository = _repository(services)
    async with _scratch() as scratch:
        archive = scratch / "archive"
        fields = await _receive(request, services.limits, archive)
        package = scratch / "package"
        manifest = await asyncio.to_thread(_unpack, archive, package, services.limits)
        _require_as_expected(manifest, fields)
        if holds_saved_model(manifest) and not services.allow_saved_models:
            raise Forbidden(
                "A SavedModel can read and write files, so uploading one is off; "
                "start the server with --allow-saved-models, or upload a LiteRT graph"
            )
        digest = package_digest(package)
        is_new = digest not in {model.digest for model in services.engine.models.loaded()}
        try:
            # Under the digest that it will have: what is asked of it next finds it loaded.
            await services.engine.load(digest, lambda: load_model(package, digest))
        except NotReady:
            raise
        except TunelaneError as error:
            # Golden rows that do not fit the graph, or that it fails on, among others.
            raise BadPackage(str(error).replace(str(package), "the package")) from error
        try:
            stored = await asyncio.to_thread(repository.add, fields.model_id, fields.version, package, fields.metadata)
        except Exception as error:
            if is_new:
                # Nobody will ask for it.
                services.engine.models.evict(digest)
            if isinstance(error, Problem) or not isinstance(error, TunelaneError):
                raise
            raise NotReady(f"The package cannot be stored: {error}", retry_after_s=LOAD_AGAIN_S) from error
    return json_response(_uploaded(stored), status=201)


@asynccontextmanager
async def _scratch() -> AsyncIterator[Path]:
    """Give a directory that is gone afterwards. Deleting what was unpacked into it takes long: not the loop's work."""
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="tunelane-upload-"))
    try:
        yield directory
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


async def get_version(request: Request, services: Services) -> Response:
    """Answer `GET /model/{model_id}/{version}`."""
    model_id, version = path_value(request, "model_id", ModelId), path_value(request, "version", Version)
    stored = await asyncio.to_thread(_repository(services).get, model_id, version)
    return json_response(_uploaded(stored))


async def list_versions(request: Request, services: Services) -> Response:
    """Answer `GET /model/{model_id}/versions`."""
    model_id = path_value(request, "model_id", ModelId)
    found = await asyncio.to_thread(_repository(services).versions, model_id)
    return json_response(ModelVersions(model_id, tuple(_uploaded(stored) for stored in found)))


async def set_stage(request: Request, services: Services) -> Response:
    """Answer `POST /model/{model_id}/{version}/stage`."""
    model_id, version = path_value(request, "model_id", ModelId), path_value(request, "version", Version)
    body = decode_body(await read_body(request, services.limits.max_body_bytes), StageRequest)
    stored = await asyncio.to_thread(_repository(services).set_stage, model_id, version, body.stage)
    return json_response(_uploaded(stored))


def _repository(services: Services) -> "ModelRepository":
    if services.repository is None:
        raise Forbidden("This server has no repository: it serves one package, and is replaced to serve another")
    return services.repository


async def _receive(request: Request, limits: Limits, archive: Path) -> UploadFields:
    """Read the form: the archive into a file, the other fields checked.

    Raises:
        MalformedUpload: it is no multipart form with one file named `package`.
        BodyTooLarge: it is larger than an upload may be.
        InvalidRequest: a field is missing, unknown, or not what it should be.
    """
    from starlette.formparsers import MultiPartException, MultiPartParser

    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise MalformedUpload("Send a multipart form: the archive as the file 'package', and the field modelId")
    parser = MultiPartParser(
        request.headers,
        _counted(request, limits.max_upload_bytes),
        max_files=1,
        max_fields=10,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        said = getattr(error, "message", "") or "no boundary in Content-Type"
        raise MalformedUpload(f"The multipart form cannot be read: {said}") from error
    try:
        package = form.get("package")
        if not isinstance(package, UploadFile):
            raise MalformedUpload("There is no file 'package' in the form")
        fields = _fields(form)
        await asyncio.to_thread(_save, package, archive)
    finally:
        await form.close()
    return fields


def _save(package: UploadFile, archive: Path) -> None:
    with archive.open("wb") as target:
        shutil.copyfileobj(package.file, target)


def _fields(form: FormData) -> UploadFields:
    """Check the fields; those with more than a word in them are JSON."""
    given: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "package":
            continue
        if isinstance(value, UploadFile) or name in given:
            raise InvalidRequest(f"The field {name!r} must be one text")
        given[name] = value
    try:
        for name in ("inputs", "outputs", "metadata"):
            if name in given:
                given[name] = msgspec.json.decode(given[name])
        return msgspec.convert(given, UploadFields)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(f"{error}, in the form") from error


async def _counted(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Give the body's chunks; raises BodyTooLarge once more bytes come, or are announced, than an upload may have."""
    too_large = BodyTooLarge(f"The upload is larger than {max_bytes} bytes")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes + _MAX_FORM_BYTES:
        raise too_large
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > max_bytes + _MAX_FORM_BYTES:
            raise too_large
        yield chunk


def _unpack(archive: Path, package: Path, limits: Limits) -> Manifest:
    from tunelane_serving.repository.archives import unpack

    unpack(
        archive,
        package,
        max_unpacked_bytes=limits.max_unpacked_bytes,
        max_files=limits.max_unpacked_files,
    )
    return read_manifest(package)


def _require_as_expected(manifest: Manifest, fields: UploadFields) -> None:
    """Raise BadPackage where the package is not what the uploader says it is."""
    for name in ("framework", "inputs", "outputs"):
        expected = getattr(fields, name)
        if expected is not None and expected != getattr(manifest, name):
            raise BadPackage(f"The package's manifest has other {name} than the form says")


def _uploaded(stored: "StoredVersion") -> UploadedModel:
    return UploadedModel(
        model_id=stored.model_id,
        version=stored.version,
        digest=stored.digest,
        framework=stored.framework,
        task=stored.task,
        stage=stored.stage,
        size_bytes=stored.size_bytes,
        uploaded_at=datetime.fromtimestamp(stored.uploaded_at, UTC),
        inputs=stored.inputs,
        outputs=stored.outputs,
        labels=stored.labels,
        metadata=stored.metadata,
    )


_TEXT: dict[str, Any] = {"type": "string"}
_JSON_TEXT: dict[str, Any] = {"type": "string", "contentMediaType": "application/json"}
_UPLOAD_FORM: Mapping[str, Mapping[str, Any]] = {
    "package": {
        "type": "string",
        "format": "binary",
        "description": "A model package as .tar, .tar.gz or .zip; at most --max-upload-bytes.",
    },
    "modelId": _TEXT | {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
    "version": _TEXT | {"description": "The next number where it is not given."},
    "framework": _TEXT | {"enum": ["onnx", "tensorflow", "rules"]},
    "inputs": _JSON_TEXT | {"description": "The input schema that the package must have: a list of tensors."},
    "outputs": _JSON_TEXT | {"description": "The output schema that the package must have: a list of tensors."},
    "metadata": _JSON_TEXT | {"description": "An object, kept as it is."},
}

OPERATIONS = (
    Operation(
        method="POST",
        path="/model/upload",
        handler=upload,
        summary="Add a model package to the repository",
        description="The package is unpacked, held against its manifest, its graphs are checked and loaded, and its "
        "golden rows answered, before the repository has it.",
        tag="Models",
        form=_UPLOAD_FORM,
        required_fields=("package", "modelId"),
        answer=UploadedModel,
        status=201,
        problems=(
            MalformedUpload,
            BodyTooLarge,
            InvalidRequest,
            BadPackage,
            VersionExists,
            Forbidden,
            NotReady,
            DatabaseAway,
        ),
        right="manage",
        example={"modelId": "encoder", "metadata": '{"team": "search"}'},
    ),
    Operation(
        method="GET",
        path="/model/{model_id}/versions",
        handler=list_versions,
        summary="The versions of a model, the newest first",
        tag="Models",
        path_types=_MODEL,
        answer=ModelVersions,
        problems=(NotFound, Forbidden, InvalidRequest, DatabaseAway),
        right="monitor",
        path_example={"model_id": "encoder"},
    ),
    Operation(
        method="GET",
        path="/model/{model_id}/{version}",
        handler=get_version,
        summary="A version of a model: schemas, framework, digest, stage",
        tag="Models",
        path_types=_MODEL_VERSION,
        answer=UploadedModel,
        problems=(NotFound, Forbidden, InvalidRequest, DatabaseAway),
        right="monitor",
        path_example={"model_id": "encoder", "version": "1"},
    ),
    Operation(
        method="POST",
        path="/model/{model_id}/{version}/stage",
        handler=set_stage,
        summary="Move a version to development, staging or production",
        description="The version in production answers requests that name the model alone. Another one that was in "
        "production steps down to staging. Nobody becomes champion by this: the registry decides that.",
        tag="Models",
        path_types=_MODEL_VERSION,
        body=StageRequest,
        answer=UploadedModel,
        problems=(NotFound, Forbidden, DatabaseAway),
        right="manage",
        example={"stage": "production"},
        path_example={"model_id": "encoder", "version": "1"},
    ),
)
