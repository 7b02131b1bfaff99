"""`POST /model/upload`: who may, what is taken, and that nothing of what is refused is left anywhere."""

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from starlette.testclient import TestClient

from tunelane_serving.errors import TunelaneError
from tunelane_serving.package import Golden, describe_files, package_digest, read_manifest, seal
from tunelane_serving.packing import archive, pack_tensors

Make = Callable[..., TestClient]
Build = Callable[..., Path]
Upload = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def package(tiny_package: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("packages") / "reviews")


@pytest.fixture(scope="module")
def archived(package: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return archive(package, tmp_path_factory.mktemp("archives") / "reviews.tar.gz").read_bytes()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give this process a temporary directory of its own, which is empty again in the end."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


@pytest.fixture
def client(scratch: Path, package: Path, make_client: Make, api_keys: Path) -> TestClient:
    """Give a client, by a key that may do everything, of a server that serves a package and has a repository."""
    client = make_client("--package", package, "--api-keys", api_keys)
    client.headers["x-api-key"] = "secret"
    return client


def _assert_error(response: httpx.Response, status: int, code: str) -> str:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.text
    message: str = response.json()["error"]["message"]
    assert "\n" not in message
    return message


def _assert_nothing_kept(client: TestClient, model_id: str = "reviews") -> None:
    """Nothing is in the repository, and the model that serves is as it was."""
    assert client.get(f"/model/{model_id}/versions").status_code == 404
    assert not list(_home(client).glob("packages/[!.]*"))
    assert client.post("/predict", json={"text": "a good film"}).json()["label"] == "positive"
    assert client.get("/health/ml").json()["status"] == "ok"


def _home(client: TestClient) -> Path:
    return Path(client.services.database.url.removeprefix("sqlite:///")).parent


def _post(client: TestClient, archived: bytes, **fields: str) -> httpx.Response:
    form = {"modelId": "reviews"} | fields
    return client.post("/model/upload", data=form, files={"package": ("package.tar.gz", archived)})


# Who may.


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthorized"),
        ({"x-api-key": "guess"}, 401, "unauthorized"),
        ({"authorization": "Basic c2VjcmV0"}, 401, "unauthorized"),
        ({"x-api-key": "caller"}, 403, "forbidden"),
        ({"x-api-key": "operator"}, 201, ""),
        ({"authorization": "Bearer operator"}, 201, ""),
    ],
)
def test_only_a_key_that_may_manage_uploads(
    make_client: Make, package: Path, archived: bytes, tmp_path: Path, headers: dict[str, str], status: int, code: str
) -> None:
    keys = [("caller", ["predict", "feedback", "monitor"]), ("operator", ["manage"])]
    listed = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "rights": rights} for name, rights in keys
    ]
    client = make_client("--package", package, environment={"TUNELANE_API_KEYS": json.dumps(listed)})
    client.headers.update(headers)
    response = _post(client, archived)
    assert response.status_code == status, response.text
    if code:
        assert response.json()["error"]["code"] == code
        assert (response.headers.get("www-authenticate") == "Bearer") is (status == 401)
    staged = client.post("/model/reviews/1/stage", json={"stage": "production"})
    assert staged.status_code == (200 if status == 201 else status)
    # A key that only manages neither reads nor predicts.
    if status == 201:
        assert client.get("/model/reviews/versions").status_code == 403
        assert client.post("/predict", json={"text": "good"}).status_code == 403


def test_without_keys_nobody_uploads(make_client: Make, package: Path, archived: bytes) -> None:
    client = make_client("--package", package)
    assert "--api-keys" in _assert_error(_post(client, archived), 403, "forbidden")
    assert client.post("/model/reviews/1/stage", json={"stage": "staging"}).status_code == 403
    assert client.get("/model/reviews/versions").status_code == 404


# What is taken.


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar", ".zip"])
def test_a_package_is_taken_as_tar_or_zip_and_described(
    client: TestClient, upload: Upload, package: Path, suffix: str
) -> None:
    response = upload(client, package, "shop", suffix, framework="onnx", metadata={"team": "search"})
    assert response.status_code == 201, response.text
    manifest = json.loads((package / "manifest.json").read_bytes())
    body = response.json()
    assert body | {"uploadedAt": None, "sizeBytes": None} == {
        "modelId": "shop",
        "version": "1",
        "digest": package_digest(package),
        "framework": "onnx",
        "task": "single_label",
        "stage": "development",
        "sizeBytes": None,
        "uploadedAt": None,
        "inputs": manifest["inputs"],
        "outputs": manifest["outputs"],
        "labels": ["negative", "positive"],
        "metadata": {"team": "search"},
    }
    assert body["sizeBytes"] == sum(file["size_bytes"] for file in manifest["files"])
    assert client.get("/model/shop/1").json() == body
    assert client.get("/model/shop/versions").json() == {"modelId": "shop", "versions": [body]}
    assert client.post("/predict", json={"text": "good", "modelId": "shop"}).json()["label"] == "positive"


def test_the_same_upload_twice_is_the_same_answer_and_another_package_a_409(
    client: TestClient, upload: Upload, package: Path, tiny_package: Build, tmp_path: Path
) -> None:
    first = upload(client, package, "shop", version="v1")
    assert upload(client, package, "shop", ".zip", version="v1").json() == first.json()
    other = tiny_package(tmp_path / "other", bias=(3.0, 0.0))
    assert "v1" in _assert_error(upload(client, other, "shop", version="v1"), 409, "version_exists")
    assert [stored["digest"] for stored in client.get("/model/shop/versions").json()["versions"]] == [
        package_digest(package)
    ]
    assert client.post("/predict", json={"text": "the film", "modelId": "shop"}).json()["confidence"] == 0.5


def test_uploads_at_the_same_time_become_versions_one_after_the_other(client: TestClient, archived: bytes) -> None:
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: _post(client, archived), range(4)))
    assert sorted(answer.json()["version"] for answer in answers) == ["1", "2", "3", "4"]


def test_what_the_uploader_expects_must_be_in_the_manifest(client: TestClient, upload: Upload, package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_bytes())
    wrong: list[tuple[str, Any]] = [
        ("framework", "tensorflow"),
        ("inputs", manifest["outputs"]),
        ("inputs", []),
        ("outputs", [manifest["outputs"][0] | {"shape": ["batch", 3]}]),
        ("outputs", [manifest["outputs"][0] | {"dtype": "float64"}]),
    ]
    for field, expected in wrong:
        response = upload(client, package, "reviews", **{field: expected})
        assert f"other {field} than the form" in _assert_error(response, 422, "bad_package")
    _assert_nothing_kept(client)
    right = upload(client, package, "shop", inputs=manifest["inputs"], outputs=manifest["outputs"], framework="onnx")
    assert right.status_code == 201


# Forms.


def _form(boundary: str, *parts: tuple[str, str | None, bytes], end: bool = True) -> bytes:
    """Write a form: names, file names, contents."""
    body = b""
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + (f"--{boundary}--\r\n".encode() if end else b"")


_ID = ("modelId", None, b"reviews")
_MULTIPART = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("content_type", "parts", "status", "said"),
    [
        (_MULTIPART, [_ID], 400, "no file 'package'"),
        (_MULTIPART, [_ID, ("package", None, b"text")], 400, "no file 'package'"),
        (_MULTIPART, [_ID, ("archive", "a.zip", b"PK")], 400, "no file 'package'"),
        (_MULTIPART, [_ID, ("package", "a", b"PK"), ("package", "b", b"PK")], 400, "Too many files"),
        (_MULTIPART, [_ID, ("package", "a", b"PK"), ("other", "b", b"PK")], 400, "Too many files"),
        (_MULTIPART, [_ID, *[(f"f{number}", None, b"") for number in range(10)]], 400, "Too many fields"),
        (_MULTIPART, [_ID, ("metadata", None, b" " * 70_000), ("package", "a", b"PK")], 400, "maximum size"),
        (_MULTIPART, [("package", "a", b"PK")], 422, "modelId"),
        (_MULTIPART, [_ID, ("colour", None, b"red"), ("package", "a", b"PK")], 422, "colour"),
        (_MULTIPART, [_ID, _ID, ("package", "a", b"PK")], 422, "'modelId' must be one text"),
        (_MULTIPART, [("modelId", None, b"../reviews"), ("package", "a", b"PK")], 422, "modelId"),
        (_MULTIPART, [("modelId", None, b""), ("package", "a", b"PK")], 422, "modelId"),
        (_MULTIPART, [_ID, ("version", None, b""), ("package", "a", b"PK")], 422, "version"),
        (_MULTIPART, [_ID, ("framework", None, b"torch"), ("package", "a", b"PK")], 422, "framework"),
        (_MULTIPART, [_ID, ("metadata", None, b"{"), ("package", "a", b"PK")], 422, "in the form"),
        (_MULTIPART, [_ID, ("metadata", None, b"[" * 9_000), ("package", "a", b"PK")], 422, "in the form"),
        (_MULTIPART, [_ID, ("metadata", None, b"[]"), ("package", "a", b"PK")], 422, "metadata"),
        (_MULTIPART, [_ID, ("metadata", None, b"\xff"), ("package", "a", b"PK")], 422, "in the form"),
        (_MULTIPART, [_ID, ("inputs", None, b'[{"name": "a"}]'), ("package", "a", b"PK")], 422, "dtype"),
        (_MULTIPART, [_ID, ("package", "a", b"PK")], 422, ""),
        (_MULTIPART, [_ID, ("package", "a", b"")], 422, "no tar, tar.gz or zip"),
        ("multipart/form-data", [_ID, ("package", "a", b"PK")], 400, "oundary"),
        ("multipart/form-data; boundary=other", [_ID, ("package", "a", b"PK")], 400, "Invalid multipart"),
        ("application/octet-stream", [], 400, "multipart form"),
        ("application/json", [], 400, "multipart form"),
    ],
)
def test_a_form_that_is_not_an_uploads_is_refused(
    client: TestClient, content_type: str, parts: list[tuple[str, str | None, bytes]], status: int, said: str
) -> None:
    response = client.post("/model/upload", content=_form("b", *parts), headers={"content-type": content_type})
    assert response.status_code == status, response.text
    assert said in response.json()["error"]["message"]
    assert response.json()["error"]["code"] in ("malformed_upload", "invalid_request", "bad_package")
    _assert_nothing_kept(client)


def test_a_form_that_ends_early_is_refused(client: TestClient, archived: bytes) -> None:
    whole = _form("b", _ID, ("package", "a.tar.gz", archived))
    for end in (0, 1, 20, len(whole) // 2, len(whole) - len("\r\n--b--\r\n")):
        response = client.post("/model/upload", content=whole[:end], headers={"content-type": _MULTIPART})
        _assert_error(response, 400, "malformed_upload")
    _assert_nothing_kept(client)


# Limits.


def test_an_upload_that_is_too_large_is_a_413_announced_or_not(
    scratch: Path, package: Path, make_client: Make, api_keys: Path
) -> None:
    client = make_client("--package", package, "--api-keys", api_keys, "--max-upload-bytes", "1000")
    client.headers.update({"x-api-key": "secret", "content-type": _MULTIPART})
    form = _form("b", _ID, ("package", "a", b"\0" * (2 << 20)))
    read_bytes = 0

    def chunks() -> Iterator[bytes]:
        nonlocal read_bytes
        for start in range(0, len(form), 1 << 16):
            read_bytes += 1 << 16
            yield form[start : start + (1 << 16)]

    for body in (form, chunks()):
        response = client.post("/model/upload", content=body)
        assert ("content-length" in response.request.headers) is (body is form)
        assert "1000 bytes" in _assert_error(response, 413, "body_too_large")
    _assert_nothing_kept(client)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--max-unpacked-bytes", "1000", "more than 1000 bytes"), ("--max-unpacked-files", "2", "more than 2 files")],
)
def test_a_package_that_is_too_large_unpacked_is_a_422(
    scratch: Path, package: Path, archived: bytes, make_client: Make, api_keys: Path, option: str, value: str, said: str
) -> None:
    client = make_client("--package", package, "--api-keys", api_keys, option, value)
    client.headers["x-api-key"] = "secret"
    assert said in _assert_error(_post(client, archived), 422, "bad_package")
    _assert_nothing_kept(client)


# Packages that are not served.


def test_a_saved_model_is_refused_unless_it_is_allowed(
    scratch: Path,
    client: TestClient,
    repository_client: Make,
    upload: Upload,
    encoder_packages: Mapping[str, Path],
) -> None:
    refused = upload(client, encoder_packages["tensorflow"], "reviews", ".tar")
    assert "--allow-saved-models" in _assert_error(refused, 403, "forbidden")
    _assert_nothing_kept(client)
    # LiteRT's graphs cannot touch files.
    assert upload(client, encoder_packages["litert"], "encoder", ".tar").status_code == 201
    assert upload(repository_client("--allow-saved-models"), encoder_packages["tensorflow"], "e").status_code == 201


def _tensors_package(directory: Path, *nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = ()) -> Path:
    """Write a package of (batch, 2) float32 `x` to `y`, as a caller would who does not use this project's packing."""
    directory.mkdir()
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Sqrt", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 2))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 2))],
        list(tensors),
    )
    plain = helper.make_graph([helper.make_node("Sqrt", ["x"], ["y"])], "graph", list(graph.input), list(graph.output))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("mine", 1)]
    onnx.save(helper.make_model(plain, opset_imports=opsets, ir_version=10), directory / "plain.onnx")
    pack_tensors(directory / "plain.onnx", directory / "package")
    package = directory / "package"
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    (package / "model.onnx").write_bytes(model.SerializeToString())
    seal(package, msgspec.structs.replace(read_manifest(package), files=describe_files(package)))
    return package


def _with_golden(package: Path, *goldens: Golden) -> Path:
    seal(package, msgspec.structs.replace(read_manifest(package), goldens=goldens))
    return package


def _external_weights(directory: Path) -> Path:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="/etc/passwd")
    return _tensors_package(directory, helper.make_node("MatMul", ["x", "w"], ["y"]), tensors=(weights,))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_external_weights, "stands in another file"),
        (lambda path: _tensors_package(path, helper.make_node("Format", ["x"], ["y"], domain="mine")), "mine"),
        (lambda path: _tensors_package(path, helper.make_node("NoSuchOperator", ["x"], ["y"])), "ONNX Runtime"),
        (lambda path: _tensors_package(path, helper.make_node("Identity", ["z"], ["y"])), "ONNX Runtime"),
        (
            lambda path: _with_golden(_tensors_package(path), Golden("", {"fp32": (2.0, 2.0)}, {"x": [4, 9]})),
            "off its golden rows",
        ),
        # What is wrong with a golden row is wrong with the package, not with the request.
        (
            lambda path: _with_golden(_tensors_package(path), Golden("", {"fp32": (2.0, 3.0)}, {"x": [4]})),
            "x: 2 entries are expected",
        ),
        (
            lambda path: _with_golden(_tensors_package(path), Golden("", {"fp32": (2.0, 3.0)}, {"x": [-1, 9]})),
            "not finite",
        ),
    ],
)
def test_a_package_that_cannot_be_served_is_refused_before_it_is_kept(
    client: TestClient, upload: Upload, tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    response = upload(client, make(tmp_path / "made"), "reviews")
    message = _assert_error(response, 422, "bad_package")
    assert said in message
    # Where it was unpacked is nobody's business.
    assert str(tmp_path) not in message
    _assert_nothing_kept(client)


def test_golden_rows_of_no_variant_are_refused(client: TestClient, package: Path) -> None:
    # Written by hand: nothing of this project makes such a manifest, or packs it.
    manifest = json.loads((package / "manifest.json").read_bytes())
    manifest["goldens"][0]["scores"] = {"int8": [0.5, 0.5]}
    written = json.dumps(manifest).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in package.rglob("*"):
            if path.is_file() and path.name != "manifest.json":
                archive.add(path, path.relative_to(package))
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(written)
        archive.addfile(entry, io.BytesIO(written))
    assert "goldens[0].scores" in _assert_error(_post(client, packed.getvalue()), 422, "bad_package")
    _assert_nothing_kept(client)


def test_a_classifier_that_misses_its_golden_rows_is_refused(
    client: TestClient, upload: Upload, package: Path, tmp_path: Path
) -> None:
    changed = shutil.copytree(package, tmp_path / "changed")
    manifest = read_manifest(changed)
    golden = Golden("a good film", {"fp32": (0.9, 0.1)})
    seal(changed, msgspec.structs.replace(manifest, goldens=(*manifest.goldens, golden)))
    assert "off its golden rows" in _assert_error(upload(client, changed, "reviews"), 422, "bad_package")
    seal(changed, msgspec.structs.replace(manifest, goldens=()))
    assert "no golden rows" in _assert_error(upload(client, changed, "reviews"), 422, "bad_package")
    _assert_nothing_kept(client)


@pytest.mark.parametrize("name", ["../evil", "/evil", "onnx/../../evil", "manifest.json/evil"])
def test_an_archive_that_reaches_outside_is_refused_and_writes_nothing(
    client: TestClient, package: Path, scratch: Path, tmp_path: Path, name: str
) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for path in package.rglob("*"):
            tar.add(package / path, path.relative_to(package), recursive=False)
        entry = tarfile.TarInfo(name)
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"evil"))
    _assert_error(_post(client, packed.getvalue()), 422, "bad_package")
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/evil").exists()
    _assert_nothing_kept(client)


def test_a_damaged_archive_is_refused(client: TestClient, archived: bytes) -> None:
    damaged = bytearray(archived)
    damaged[len(damaged) // 2] ^= 0xFF
    for content in (bytes(damaged), archived[:-20], archived[: len(archived) // 2]):
        _assert_error(_post(client, content), 422, "bad_package")
    _assert_nothing_kept(client)


# What is around it.


def test_a_server_without_a_repository_takes_no_upload(
    make_client: Make, package: Path, archived: bytes, api_keys: Path
) -> None:
    client = make_client("--package", package, "--mode", "serverless", "--api-keys", api_keys)
    client.headers["x-api-key"] = "secret"
    assert "no repository" in _assert_error(_post(client, archived), 403, "forbidden")
    for path in ("/model/reviews/1", "/model/reviews/versions"):
        _assert_error(client.get(path), 403, "forbidden")
    _assert_error(client.post("/model/reviews/1/stage", json={"stage": "staging"}), 403, "forbidden")


def test_stages_and_names_that_are_not_are_errors(client: TestClient, upload: Upload, package: Path) -> None:
    assert upload(client, package, "shop").status_code == 201
    _assert_error(client.post("/model/shop/2/stage", json={"stage": "production"}), 404, "not_found")
    _assert_error(client.post("/model/other/1/stage", json={"stage": "production"}), 404, "not_found")
    _assert_error(client.post("/model/shop/1/stage", json={"stage": "champion"}), 422, "invalid_request")
    _assert_error(client.post("/model/shop/1/stage", content=b"{"), 400, "malformed_json")
    _assert_error(client.get("/model/shop/2"), 404, "not_found")
    _assert_error(client.get("/model/other/versions"), 404, "not_found")
    _assert_error(client.get("/model/a%20b/versions"), 422, "invalid_request")


def test_a_package_that_is_gone_is_a_503_and_the_served_model_stays(
    client: TestClient, upload: Upload, package: Path
) -> None:
    digest = upload(client, package, "shop").json()["digest"]
    client.services.engine.models.evict(digest)
    graph = _home(client) / "packages" / digest / "onnx" / "model.onnx"
    graph.rename(graph.with_suffix(".away"))
    try:
        response = client.post("/predict", json={"text": "good", "modelId": "shop"})
        assert "cannot be loaded" in _assert_error(response, 503, "not_ready")
        assert client.post("/predict", json={"text": "a good film"}).json()["label"] == "positive"
    finally:
        graph.with_suffix(".away").rename(graph)
    # A load that failed is tried anew.
    assert client.post("/predict", json={"text": "good", "modelId": "shop"}).json()["label"] == "positive"


def test_a_package_that_cannot_be_stored_is_a_503_and_leaves_memory(
    client: TestClient, upload: Upload, tiny_package: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise TunelaneError("Cannot reach gs://bucket/packages: no route")

    monkeypatch.setattr(client.services.repository, "add", away)
    package = tiny_package(tmp_path / "new", bias=(2.0, 0.0))
    response = upload(client, package, "shop")
    assert "Cannot reach gs://bucket" in _assert_error(response, 503, "not_ready")
    assert int(response.headers["retry-after"]) > 0
    assert client.services.engine.models.loaded() == []


def test_a_refused_version_leaves_memory_and_one_that_was_there_stays(
    client: TestClient, upload: Upload, package: Path, tiny_package: Build, tmp_path: Path
) -> None:
    upload(client, package, "shop", version="v1")
    assert client.post("/predict", json={"text": "good", "modelId": "shop"}).status_code == 200
    upload(client, package, "moods", version="v1")
    other = tiny_package(tmp_path / "other", bias=(3.0, 0.0))
    _assert_error(upload(client, other, "shop", version="v1"), 409, "version_exists")
    loaded = client.services.engine.models.loaded
    assert [model.digest for model in loaded()] == [package_digest(package)]
    upload(client, other, "films", version="v1")
    # What serves others is not taken from them by an upload that is refused.
    _assert_error(upload(client, package, "films", version="v1"), 409, "version_exists")
    assert {model.digest for model in loaded()} == {package_digest(package), package_digest(other)}


def test_models_beyond_the_limit_leave_memory_and_come_back(
    make_client: Make, api_keys: Path, upload: Upload, tiny_package: Build, tmp_path: Path
) -> None:
    client = make_client("--repository", "--api-keys", api_keys, "--max-models", "2")
    client.headers["x-api-key"] = "secret"
    for number in range(3):
        upload(client, tiny_package(tmp_path / f"m{number}", bias=(float(number), 0.0)), f"m{number}")
    confidences = [
        client.post("/predict", json={"text": "the film", "modelId": f"m{number}"}).json()["confidence"]
        for number in (0, 1, 2, 0)
    ]
    np.testing.assert_allclose(confidences, [0.5, 0.731, 0.881, 0.5], atol=0.001)
    models = client.get("/health/ml").json()["models"]
    assert sorted(model["model"] for model in models) == ["m0", "m2"]
