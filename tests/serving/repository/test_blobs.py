import errno
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tunelane_serving.errors import ContractError, DigestMismatch, TunelaneError
from tunelane_serving.package import MANIFEST, package_digest, verify
from tunelane_serving.problems import NotFound
from tunelane_serving.repository.blobs import Blobs, BucketBlobs, FolderBlobs


class FolderStorage:
    """Object storage in a folder; says what was asked of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uploaded: list[str] = []
        self.downloaded: list[str] = []

    def exists(self, name: str) -> bool:
        return (self.root / name).is_file()

    def download(self, name: str, target: Path) -> None:
        self.downloaded.append(name)
        shutil.copyfile(self.root / name, target)

    def upload(self, name: str, source: Path) -> None:
        self.uploaded.append(name)
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, self.root / name)


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path / "bucket")


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, storage: FolderStorage) -> Blobs:
    if request.param == "folder":
        return FolderBlobs(tmp_path / "packages")
    return BucketBlobs(storage, tmp_path / "cache")


def test_what_was_put_is_there_whole(blobs: Blobs, package: Path) -> None:
    digest = package_digest(package)
    for _ in range(2):
        blobs.put(package, digest)
    verify(blobs.local(digest), expected_digest=digest)


def test_what_was_not_put_is_not_found(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match="upload it again"):
        blobs.local("0" * 64)


def test_a_package_that_cannot_be_read_is_not_said_to_be_missing(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, blobs = package_digest(package), FolderBlobs(tmp_path / "packages")
    blobs.put(package, digest)
    for method in ("read_bytes", "stat"):
        with monkeypatch.context() as patch:

            def refuse(path: Path, **_: object) -> None:
                raise OSError(errno.EMFILE, "Too many open files", str(path))

            patch.setattr(Path, method, refuse)
            with pytest.raises(ContractError, match="Too many open files"):
                blobs.local(digest)
    (blobs.local(digest) / MANIFEST).unlink()
    with pytest.raises(ContractError, match="not a model package"):
        blobs.local(digest)


@pytest.mark.parametrize("digest", ["", "0" * 63, "../" + "0" * 61, "A" * 64, "0" * 64 + "\n"])
def test_what_is_no_digest_names_no_package(blobs: Blobs, package: Path, digest: str) -> None:
    with pytest.raises(DigestMismatch):
        blobs.local(digest)
    with pytest.raises(DigestMismatch):
        blobs.put(package, digest)


def test_a_package_is_not_put_under_another_ones_digest(blobs: Blobs, package: Path, other_package: Path) -> None:
    digest = package_digest(other_package)
    with pytest.raises(DigestMismatch):
        blobs.put(package, digest)
    with pytest.raises(NotFound):
        blobs.local(digest)


def test_a_damaged_package_is_not_put(
    blobs: Blobs, storage: FolderStorage, tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    damaged = tiny_package(tmp_path / "damaged")
    digest = package_digest(damaged)
    (damaged / "tokenizer.json").unlink()
    with pytest.raises(ContractError):
        blobs.put(damaged, digest)
    with pytest.raises(NotFound):
        blobs.local(digest)
    assert storage.uploaded == []


def test_callers_that_put_one_package_together_take_turns(blobs: Blobs, package: Path) -> None:
    digest = package_digest(package)
    together = threading.Barrier(4)

    def put(_: int) -> None:
        together.wait()
        blobs.put(package, digest)
        verify(blobs.local(digest), expected_digest=digest)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(put, range(4)))


def test_a_damaged_package_in_the_folder_is_mended_by_another_upload(tmp_path: Path, package: Path) -> None:
    blobs, digest = FolderBlobs(tmp_path / "packages"), package_digest(package)
    blobs.put(package, digest)
    (blobs.local(digest) / "tokenizer.json").unlink()
    blobs.put(package, digest)
    verify(blobs.local(digest), expected_digest=digest)


def test_the_manifest_is_uploaded_last_and_once(storage: FolderStorage, tmp_path: Path, package: Path) -> None:
    digest = package_digest(package)
    for cache in ("one", "two"):
        BucketBlobs(storage, tmp_path / cache).put(package, digest)
    assert sorted(storage.uploaded) == sorted(set(storage.uploaded))
    assert storage.uploaded[-1] == f"{digest}/{MANIFEST}"
    assert {name.partition("/")[0] for name in storage.uploaded} == {digest}


def test_a_package_without_its_manifest_is_not_there_yet(storage: FolderStorage, tmp_path: Path, package: Path) -> None:
    digest = package_digest(package)
    storage.upload(f"{digest}/tokenizer.json", package / "tokenizer.json")
    with pytest.raises(NotFound):
        BucketBlobs(storage, tmp_path / "cache").local(digest)


def test_another_instance_downloads_once_however_many_ask(
    storage: FolderStorage, tmp_path: Path, package: Path
) -> None:
    digest = package_digest(package)
    BucketBlobs(storage, tmp_path / "here").put(package, digest)
    elsewhere = BucketBlobs(storage, tmp_path / "elsewhere")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: elsewhere.local(digest), range(8)))
    assert set(found) == {tmp_path / "elsewhere" / digest}
    verify(found[0], expected_digest=digest)
    assert sorted(storage.downloaded) == sorted(set(storage.downloaded))


def test_who_uploads_does_not_download(storage: FolderStorage, tmp_path: Path, package: Path) -> None:
    blobs, digest = BucketBlobs(storage, tmp_path / "cache"), package_digest(package)
    blobs.put(package, digest)
    blobs.local(digest)
    assert storage.downloaded == []


def test_a_damaged_copy_is_downloaded_again(storage: FolderStorage, tmp_path: Path, package: Path) -> None:
    digest = package_digest(package)
    BucketBlobs(storage, tmp_path / "here").put(package, digest)
    elsewhere = BucketBlobs(storage, tmp_path / "elsewhere")
    (elsewhere.local(digest) / "onnx" / "model.onnx").write_bytes(b"half of it")
    verify(elsewhere.local(digest), expected_digest=digest)


def test_a_disk_that_does_not_take_a_package_is_said_in_one_line(
    storage: FolderStorage, tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = package_digest(package)
    BucketBlobs(storage, tmp_path / "here").put(package, digest)
    elsewhere = BucketBlobs(storage, tmp_path / "elsewhere")
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(storage, "download", refuse)
        with pytest.raises(TunelaneError, match=r"^Cannot keep package .* in .*elsewhere: No space left on device\."):
            elsewhere.local(digest)
    verify(elsewhere.local(digest), expected_digest=digest)


@pytest.mark.parametrize("name", [MANIFEST, "tokenizer.json"])
def test_what_was_changed_in_the_bucket_does_not_get_here(
    storage: FolderStorage, tmp_path: Path, package: Path, name: str
) -> None:
    digest = package_digest(package)
    BucketBlobs(storage, tmp_path / "here").put(package, digest)
    with (storage.root / digest / name).open("ab") as stream:
        stream.write(b" ")
    elsewhere = BucketBlobs(storage, tmp_path / "elsewhere")
    with pytest.raises(DigestMismatch):
        elsewhere.local(digest)
    assert not (tmp_path / "elsewhere" / digest).exists()
