import datetime
import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tunelane_serving.errors import ContractError, DigestMismatch, InputError, TunelaneError
from tunelane_serving.fetching.command import main
from tunelane_serving.fetching.ensure import ensure_model
from tunelane_serving.fetching.http import Http
from tunelane_serving.files import locked
from tunelane_serving.package import MANIFEST, package_digest, verify

if TYPE_CHECKING:
    from tests.serving.fetching.conftest import FakeStorage


class Build:
    """A builder that copies a package, and counts."""

    def __init__(self, package: Path) -> None:
        self.package, self.sources = package, list[str]()

    def __call__(self, source: str, target: Path, *, say: Callable[[str], None]) -> None:
        self.sources.append(source)
        say("exporting")
        shutil.copytree(self.package, target)


@pytest.fixture(scope="module")
def package(tiny_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_package(tmp_path_factory.mktemp("source") / "package")


@pytest.fixture(scope="module")
def digest(package: Path) -> str:
    return package_digest(package)


@pytest.fixture(scope="module")
def archive(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "model.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for file in sorted(package.rglob("*")):
            packed.add(file, file.relative_to(package), recursive=False)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.fixture
def bucket(storage: "FakeStorage", package: Path) -> "FakeStorage":
    """Put the package into the fake Cloud Storage, under gs://bucket/models/1."""
    _fill(storage, package)
    return storage


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_text("weights")
    return directory


def _fill(storage: "FakeStorage", package: Path, prefix: str = "bucket/models/1") -> None:
    for file in package.rglob("*"):
        if file.is_file():
            storage.objects[f"{prefix}/{file.relative_to(package)}"] = file.read_bytes()


def _left_over(home: Path) -> list[str]:
    """Name what is in the home beside packages and records."""
    return sorted(
        path.relative_to(home).as_posix()
        for path in (*home.glob("*"), *home.glob("packages/*"))
        if path.name not in ("packages", "sources", ".ensure.lock") and not (path / MANIFEST).is_file()
    )


def test_a_directory_is_put_into_the_home_under_its_digest(
    package: Path, digest: str, home: Path, steps: list[str]
) -> None:
    found = ensure_model(str(package), digest, home, say=steps.append)
    assert found == home / "packages" / digest
    verify(found, expected_digest=digest)
    assert [step[:4] for step in steps] == ["1/4 ", "2/4 ", "3/4 ", "4/4 "]
    assert _left_over(home) == []


def test_a_local_package_needs_no_digest(package: Path, digest: str, home: Path, steps: list[str]) -> None:
    assert ensure_model(package.as_uri(), None, home, say=steps.append).name == digest


def test_what_lies_there_intact_is_not_brought_again(package: Path, digest: str, home: Path, steps: list[str]) -> None:
    ensure_model(str(package), digest, home, say=steps.append)
    before = (home / "packages" / digest).stat().st_ino
    steps.clear()
    # Not even the source has to be there.
    assert ensure_model("/nowhere/at/all", digest, home, say=steps.append).name == digest
    assert [step[:4] for step in steps] == ["1/4 ", "4/4 "]
    assert (home / "packages" / digest).stat().st_ino == before


def test_a_home_that_cannot_be_written_is_enough_for_what_lies_in_it(
    package: Path, digest: str, home: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_model(str(package), digest, home, say=steps.append)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tunelane_serving.fetching.ensure.locked", refuse)
    assert ensure_model(str(package), digest, home, say=steps.append).name == digest
    with pytest.raises(InputError, match=r"^Cannot keep .*Permission denied\. Choose another home\.$"):
        ensure_model(str(package), "0" * 64, home, say=steps.append)


def test_a_package_that_was_damaged_in_the_home_is_brought_again(
    bucket: "FakeStorage", digest: str, home: Path, steps: list[str]
) -> None:
    found = ensure_model("gs://bucket/models/1", digest, home, say=steps.append)
    (found / "onnx" / "model.onnx").write_bytes(b"cut")
    assert ensure_model("gs://bucket/models/1", digest, home, say=steps.append) == found
    verify(found, expected_digest=digest)


def test_a_folder_in_a_bucket_is_fetched_file_by_file(
    bucket: "FakeStorage", digest: str, home: Path, steps: list[str]
) -> None:
    bucket.objects["bucket/models/1/notes.txt"] = b"not of the package"
    found = ensure_model("gs://bucket/models/1/", digest, home, say=steps.append)
    verify(found, expected_digest=digest)
    assert len(bucket.media_requests()) == 3
    assert steps[1] == "2/4 Fetching gs://bucket/models/1/: 2 files, 0.0 MB"
    bucket.requests.clear()
    ensure_model("gs://bucket/models/1/", digest, home, say=steps.append)
    assert bucket.requests == []


def test_a_disk_without_room_is_said_at_once(
    bucket: "FakeStorage", digest: str, home: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    download = Http.download

    def download_to_a_full_disk(http: Http, url: str, target: Path, **options: Any) -> None:
        download(http, url, Path("/dev/full"), **options)

    monkeypatch.setattr(Http, "download", download_to_a_full_disk)
    with pytest.raises(InputError, match=r"^Cannot keep gs://bucket/models/1 in .*: No space left on device\. Choose"):
        ensure_model("gs://bucket/models/1", digest, home, say=steps.append)
    assert len(bucket.media_requests()) == 1
    assert _left_over(home) == []


def test_a_fetch_through_failures_gives_the_same(
    bucket: "FakeStorage", digest: str, home: Path, steps: list[str]
) -> None:
    bucket.failures, bucket.retry_after_s = [503, 429], "0"
    found = ensure_model("gs://bucket/models/1", digest, home, say=steps.append)
    verify(found, expected_digest=digest)


def test_another_package_than_the_expected_one_is_refused_before_its_graphs_are_fetched(
    bucket: "FakeStorage", home: Path, steps: list[str]
) -> None:
    with pytest.raises(DigestMismatch, match=r"^gs://bucket/models/1: package digest is"):
        ensure_model("gs://bucket/models/1", "0" * 64, home, say=steps.append)
    assert len(bucket.media_requests()) == 1
    assert _left_over(home) == []


def test_a_file_that_was_changed_in_the_bucket_is_refused(
    bucket: "FakeStorage", digest: str, home: Path, steps: list[str]
) -> None:
    bucket.objects["bucket/models/1/onnx/model.onnx"] += b"x"
    with pytest.raises(DigestMismatch, match=r"^gs://bucket/models/1/onnx/model\.onnx: .*the manifest says"):
        ensure_model("gs://bucket/models/1", digest, home, say=steps.append)
    assert not (home / "packages" / digest).exists()
    assert _left_over(home) == []


def test_an_archive_is_unpacked_wherever_it_lies(
    storage: "FakeStorage", archive: Path, digest: str, home: Path, steps: list[str]
) -> None:
    assert ensure_model(str(archive), None, home, say=steps.append).name == digest
    storage.objects["bucket/model.tar.gz"] = archive.read_bytes()
    shutil.rmtree(home)
    found = ensure_model("gs://bucket/model.tar.gz", digest, home, say=steps.append)
    verify(found, expected_digest=digest)
    assert _left_over(home) == []


def test_an_archive_without_a_digest_is_unpacked_once_and_again_when_it_changes(
    archive: Path, tiny_package: Callable[..., Path], home: Path, steps: list[str], tmp_path: Path
) -> None:
    copy = Path(shutil.copyfile(archive, tmp_path / "model.tar.gz"))
    first = ensure_model(str(copy), None, home, say=steps.append)
    steps.clear()
    assert ensure_model(str(copy), None, home, say=steps.append) == first
    assert len(steps) == 2
    other = tiny_package(tmp_path / "other", bias=(0.5, 0.0))
    with tarfile.open(copy, "w:gz") as packed:
        packed.add(other, ".")
    assert ensure_model(str(copy), None, home, say=steps.append).name == package_digest(other)


@pytest.fixture
def https(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the archive's folder over HTTPS, with a certificate that this process trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "certificate.pem").write_bytes(pem)
    (tmp_path / "key.pem").write_bytes(private)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(archive.parent))

        def do_GET(self) -> None:
            if self.path == "/moved.tar.gz":
                self.send_response(302)
                self.send_header("Location", "/model.tar.gz")
                self.end_headers()
            elif self.path == "/downgraded.tar.gz":
                self.send_response(302)
                self.send_header("Location", "http://localhost:1/model.tar.gz")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            """Say nothing."""

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["model.tar.gz", "moved.tar.gz"])
def test_an_archive_is_fetched_over_https(name: str, https: str, digest: str, home: Path, steps: list[str]) -> None:
    found = ensure_model(f"{https}/{name}", digest, home, say=steps.append)
    verify(found, expected_digest=digest)
    assert _left_over(home) == []


def test_a_signed_address_keeps_its_signature_to_itself(https: str, digest: str, home: Path, steps: list[str]) -> None:
    signed = "X-Goog-Signature=secret"
    ensure_model(f"{https}/model.tar.gz?{signed}", digest, home, say=steps.append)
    assert steps[1] == f"2/4 Fetching {https}/model.tar.gz?***"
    refused = [
        (f"{https}/model.tar.gz?{signed}", "0" * 64, DigestMismatch),
        (f"{https}/none.tar.gz?{signed}", "0" * 64, TunelaneError),
        (f"{https}/model?{signed}", digest, InputError),
        (f"{https}/other.tar.gz?{signed}", None, InputError),
        (f"http://localhost/model.tar.gz?{signed}", digest, InputError),
    ]
    for uri, expected, kind in refused:
        with pytest.raises(kind) as caught:
            ensure_model(uri, expected, home, say=steps.append)
        assert "secret" not in str(caught.value)
    assert not [step for step in steps if "secret" in step]


def test_a_redirect_away_from_https_is_not_followed(https: str, digest: str, home: Path, steps: list[str]) -> None:
    with pytest.raises(TunelaneError, match="302"):
        ensure_model(f"{https}/downgraded.tar.gz", digest, home, say=steps.append)


def test_a_server_that_nobody_vouches_for_is_not_asked(
    https: str, digest: str, home: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(InputError, match="its certificate is not trusted"):
        ensure_model(f"{https}/model.tar.gz", digest, home, say=steps.append)


def test_an_archive_that_is_too_long_is_refused(
    https: str, digest: str, home: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelane_serving.fetching.ensure._MAX_ARCHIVE_BYTES", 1000)
    with pytest.raises(InputError, match="more than 1000 bytes"):
        ensure_model(f"{https}/model.tar.gz", digest, home, say=steps.append)
    assert _left_over(home) == []


@pytest.mark.parametrize(
    ("uri", "digest_given", "words"),
    [
        ("", None, "No model was given"),
        ("gs://bucket/model", None, "is remote: pass its expected digest"),
        ("https://host.example/model.zip", None, "is remote: pass its expected digest"),
        ("https://host.example/model", "0" * 64, "is not an archive"),
        ("http://host.example/model.zip", "0" * 64, "cannot be read here"),
        ("s3://bucket/model", "0" * 64, "cannot be read here"),
        ("gs://bucket/model", "abc", "is not a digest"),
        ("gs://bucket/model", "A" * 64, "is not a digest"),
        ("./no/such/place", None, "No such file or directory"),
        ("file:///no/such/place", None, "No such file or directory: /no/such/place. Pass a model package"),
        ("https://[host/model.zip", "0" * 64, "cannot be taken apart: "),
        ("https://localhost:1/modèle.zip", "0" * 64, "is no address"),
        ("https://localhost:1/my model.zip", "0" * 64, "is no address"),
        ("file://[host/model.zip", None, "cannot be taken apart: "),
        ("~nobody-of-this-name/model", None, "this home directory is not known"),
        ("model\udcff", None, "cannot be taken apart: "),
    ],
)
def test_what_cannot_be_a_model_is_refused(
    uri: str, digest_given: str | None, words: str, home: Path, steps: list[str]
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        ensure_model(uri, digest_given, home, say=steps.append)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_neither_package_nor_model_is_refused(
    storage: "FakeStorage", home: Path, steps: list[str], tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match="neither a model package"):
        ensure_model(str(tmp_path / "pictures"), None, home, say=steps.append)
    with pytest.raises(InputError, match=r"gs://bucket/pictures is not a model package"):
        ensure_model("gs://bucket/pictures", "0" * 64, home, say=steps.append)


def test_a_folder_that_is_no_model_is_refused_before_anything_in_it_is_read(
    home: Path, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "holiday.jpg").write_bytes(b"large")
    monkeypatch.setattr("tunelane_serving.fetching.ensure.sha256_file", lambda path: pytest.fail(f"read {path}"))
    with pytest.raises(InputError, match="neither a model package"):
        ensure_model(str(tmp_path / "pictures"), None, home, say=steps.append)


def test_an_archive_that_cannot_be_read_is_blamed_itself(
    archive: Path, home: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tunelane_serving.fetching.ensure.sha256_file", refuse)
    with pytest.raises(InputError, match=r"^Cannot use .*model\.tar\.gz: Permission denied\."):
        ensure_model(str(archive), None, home, say=steps.append)


def test_a_disk_that_is_full_for_a_copy_is_not_blamed_on_what_is_copied(
    package: Path, home: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(source: Path, target: Path, digest: str) -> None:
        # As shutil.copy raises it.
        raise OSError(28, "No space left on device", str(source / "manifest.json"), None, str(target / "manifest.json"))

    monkeypatch.setattr("tunelane_serving.fetching.ensure.put_package", fill)
    with pytest.raises(InputError, match=r"^Cannot keep .*: No space left on device\. Choose another home\.$"):
        ensure_model(str(package), None, home, say=steps.append)


@pytest.mark.parametrize("content", [b"", b"no archive at all", None])
def test_an_archive_that_is_not_whole_breaks_the_contract_of_its_own_name(
    content: bytes | None, archive: Path, home: Path, steps: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(archive.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ContractError, match=r"broken\.tar\.gz: The ") as refused:
        ensure_model(str(broken), None, home, say=steps.append)
    assert "upload" not in str(refused.value)
    assert _left_over(home) == []


def test_a_broken_package_is_refused_by_the_name_that_the_user_gave(
    package: Path, home: Path, steps: list[str], tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(package, tmp_path / "broken"))
    (broken / "tokenizer.json").unlink()
    with pytest.raises(ContractError, match=r"broken: tokenizer\.json is missing"):
        ensure_model(str(broken), None, home, say=steps.append)


def test_a_checkpoint_is_built_once(package: Path, digest: str, checkpoint: Path, home: Path, steps: list[str]) -> None:
    build = Build(package)
    found = ensure_model(str(checkpoint), None, home, say=steps.append, builder=build)
    assert found.name == digest
    assert steps[1:3] == [f"2/4 Building a package of {checkpoint}", "2/4 exporting"]
    ensure_model(str(checkpoint), None, home, say=steps.append, builder=build)
    # An image may hold the package and not what it was built of.
    shutil.rmtree(checkpoint)
    assert ensure_model(str(checkpoint), None, home, say=steps.append, builder=build) == found
    assert build.sources == [str(checkpoint)]


def test_a_checkpoint_that_changed_is_built_again(
    package: Path, checkpoint: Path, home: Path, steps: list[str]
) -> None:
    build = Build(package)
    ensure_model(str(checkpoint), None, home, say=steps.append, builder=build)
    (checkpoint / "model.safetensors").write_text("WEIGHTS")
    ensure_model(str(checkpoint), None, home, say=steps.append, builder=build)
    assert len(build.sources) == 2


@pytest.mark.parametrize("source", ["sample://minilm", "organisation/encoder-v1.5", "encoder"])
def test_samples_and_hub_ids_are_built_once(
    source: str, package: Path, digest: str, home: Path, steps: list[str]
) -> None:
    build = Build(package)
    for _ in range(2):
        assert ensure_model(source, None, home, say=steps.append, builder=build).name == digest
    assert build.sources == [source]


def test_a_checkpoint_in_a_bucket_is_built_into_the_expected_package(
    storage: "FakeStorage", package: Path, digest: str, home: Path, steps: list[str]
) -> None:
    storage.objects["bucket/checkpoint/config.json"] = b"{}"
    build = Build(package)
    assert ensure_model("gs://bucket/checkpoint", digest, home, say=steps.append, builder=build).name == digest
    with pytest.raises(DigestMismatch, match=f"^gs://bucket/checkpoint: package digest is {digest}, expected 0000"):
        ensure_model("gs://bucket/checkpoint", "0" * 64, home, say=steps.append, builder=build)


def test_where_nothing_builds_it_is_said_what_to_install(
    checkpoint: Path, home: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelane_serving.fetching.ensure.BUILDERS", "tunelane.no_such_group")
    with pytest.raises(InputError, match=r"is not a model package; building one needs pip install 'tunelane\[train\]'"):
        ensure_model(str(checkpoint), None, home, say=steps.append)
    assert _left_over(home) == []


@pytest.mark.parametrize("works", [True, False])
def test_a_builder_is_found_by_its_entry_point(
    works: bool,
    package: Path,
    digest: str,
    checkpoint: Path,
    home: Path,
    steps: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = tmp_path / "site"
    (site / "some_builder-1.dist-info").mkdir(parents=True)
    (site / "some_builder-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: some-builder\nVersion: 1\n"
    )
    (site / "some_builder-1.dist-info" / "entry_points.txt").write_text(
        "[tunelane.test_builders]\nmodel = some_builder:build\n"
    )
    needed = "shutil" if works else "a_package_that_nobody_has"
    (site / "some_builder.py").write_text(
        f"import shutil, {needed}\ndef build(source, target, *, say):\n    shutil.copytree({str(package)!r}, target)\n"
    )
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr("tunelane_serving.fetching.ensure.BUILDERS", "tunelane.test_builders")
    monkeypatch.delitem(sys.modules, "some_builder", raising=False)
    if works:
        assert ensure_model(str(checkpoint), None, home, say=steps.append).name == digest
    else:
        with pytest.raises(InputError, match=r"tunelane\[train\]' \(No module named 'a_package_that_nobody_has'\)\.$"):
            ensure_model(str(checkpoint), None, home, say=steps.append)


def test_many_at_once_build_one_package_once(
    package: Path, digest: str, checkpoint: Path, home: Path, steps: list[str]
) -> None:
    build = Build(package)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda _: ensure_model(str(checkpoint), None, home, say=steps.append, builder=build).name, range(8)
            )
        )
    assert found == [digest] * 8
    assert len(build.sources) == 1
    assert _left_over(home) == []


def test_a_builder_that_fails_leaves_nothing(checkpoint: Path, home: Path, steps: list[str]) -> None:
    def fail(source: str, target: Path, *, say: Callable[[str], None]) -> None:
        target.mkdir()
        (target / MANIFEST).write_text("half")
        raise TunelaneError("parity failed")

    with pytest.raises(TunelaneError, match="parity failed"):
        ensure_model(str(checkpoint), None, home, say=steps.append, builder=fail)
    assert _left_over(home) == []


def test_what_a_killed_process_left_is_cleared_even_where_nothing_is_to_be_done(
    package: Path, digest: str, home: Path, steps: list[str]
) -> None:
    ensure_model(str(package), digest, home, say=steps.append)
    (home / ".staging" / "package").mkdir(parents=True)
    with locked(home / ".ensure.lock"):
        # Somebody works in it.
        ensure_model(str(package), digest, home, say=steps.append)
        assert _left_over(home) == [".staging"]
    ensure_model(str(package), digest, home, say=steps.append)
    assert _left_over(home) == []


def _killed_at_random(bucket: "FakeStorage", digest: str, home: Path, times: int) -> None:
    command = [sys.executable, "-m", "tunelane_serving.fetching", "gs://bucket/models/1", "--digest", digest]
    generator = random.Random(0)  # noqa: S311 - no secret
    for _ in range(times):
        shutil.rmtree(home / "packages", ignore_errors=True)
        # From the first look to the last step a run takes about a tenth of a second, after the interpreter's start.
        bucket.requests.clear()
        process = subprocess.Popen(
            [*command, "--home", str(home)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not bucket.requests and process.poll() is None:
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.08))
        process.send_signal(signal.SIGKILL)
        process.wait()
        # What is there under the name of a package is whole.
        for found in (home / "packages").glob("[0-9a-f]*"):
            verify(found, expected_digest=found.name)
    assert ensure_model("gs://bucket/models/1", digest, home, say=lambda _: None).name == digest
    assert _left_over(home) == []


def test_a_kill_leaves_nothing_half_done(bucket: "FakeStorage", digest: str, home: Path) -> None:
    _killed_at_random(bucket, digest, home, 3)


@pytest.mark.slow
def test_forty_kills_leave_nothing_half_done(bucket: "FakeStorage", digest: str, home: Path) -> None:
    _killed_at_random(bucket, digest, home, 40)


def test_the_command_prints_the_path_and_the_digest(
    package: Path, digest: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(package), "--home", str(home)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(home / "packages" / digest), digest]
    assert captured.err.startswith("1/4 Looking for ")


def test_the_commands_exit_code_says_whose_mistake_it_was(
    package: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gs://bucket/model", "--home", str(home)]) == 2
    assert main([str(package), "--digest", "0" * 64, "--home", str(home)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tunelane-ensure-model: ")]
    assert len(lines) == 2
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_an_interrupted_command_says_so_in_one_line(
    package: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tunelane_serving.fetching.ensure.put_package", interrupt)
    try:
        code = main([str(package), "--home", str(home)])
    except KeyboardInterrupt:
        # Which would end the tests themselves.
        pytest.fail("it was not caught")
    assert code == 130
    assert capsys.readouterr().err.splitlines()[-1] == "tunelane-ensure-model: interrupted"
    assert _left_over(home) == []


def test_a_user_without_a_home_directory_names_the_place(
    package: Path, digest: str, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("TUNELANE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda path: unknown(path) if path.parts[:1] == ("~",) else path)
    assert main([str(package)]) == 2
    assert "home directory is not known" in capsys.readouterr().err.splitlines()[-1]
    assert main([str(package), "--home", str(home)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == digest


def test_fetching_imports_neither_trainer_nor_cloud_packages() -> None:
    script = (
        "import sys, json, tunelane_serving.fetching.command, tunelane_serving.fetching.gs;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    unwanted = {"torch", "transformers", "fsspec", "tunelane_components", "onnxruntime", "sqlalchemy", "cryptography"}
    assert unwanted.isdisjoint(modules)
    assert {"google.auth", "google.cloud.storage"}.isdisjoint(modules)


def test_a_package_is_kept_where_the_cache_is(
    package: Path, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNELANE_CACHE_DIR", str(tmp_path / "cache"))
    assert main([str(package)]) == 0
    assert os.listdir(tmp_path / "cache" / "models" / "packages") == [digest]  # noqa: PTH208 - names are enough
