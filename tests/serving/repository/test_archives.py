import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from tunelane_serving.package import package_digest
from tunelane_serving.problems import BadPackage
from tunelane_serving.repository import archives
from tunelane_serving.repository.archives import unpack


class _Pipe(io.RawIOBase):
    """What cannot be sought: zip sizes stand behind the content then."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        return self._file.write(content)  # type: ignore[arg-type]

    def close(self) -> None:
        self._file.close()
        super().close()


def _unpacked(archive: Path) -> str:
    target = archive.with_name("unpacked")
    unpack(archive, target, max_unpacked_bytes=1 << 20, max_files=10)
    assert sorted(path.name for path in target.iterdir()) == ["manifest.json", "onnx", "tokenizer.json"]
    return package_digest(target)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("folder", [".", "reviews", "modèle", "a-name-that-needs-more-room-than-a-header-has" * 5])
def test_what_tarfile_packs_is_unpacked(tmp_path: Path, package: Path, form: int, mode: str, folder: str) -> None:
    if form == tarfile.USTAR_FORMAT and len(folder) > 100:
        pytest.skip("ustar has no such names")
    with tarfile.open(tmp_path / "archive", mode, format=form) as archive:  # type: ignore[call-overload]
        archive.add(package, folder)
    assert _unpacked(tmp_path / "archive") == package_digest(package)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("folder", ["", "reviews/", "modèle/"])
@pytest.mark.parametrize("seekable", [True, False])
def test_what_zipfile_packs_is_unpacked(
    tmp_path: Path, package: Path, method: int, folder: str, seekable: bool
) -> None:
    target = tmp_path / "archive" if seekable else _Pipe(tmp_path / "archive")
    with zipfile.ZipFile(target, "w", method) as archive:  # type: ignore[arg-type]
        for path in sorted(package.rglob("*")):
            archive.write(path, f"{folder}{path.relative_to(package)}")
    if isinstance(target, _Pipe):
        target.close()
    assert _unpacked(tmp_path / "archive") == package_digest(package)


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("tar", "tar -czf {archive} reviews"),
        ("tar", "tar -cf {archive} -C reviews ."),
        ("tar", "tar --format=posix -cf {archive} reviews"),
        ("zip", "zip -qr {archive}.zip reviews; mv {archive}.zip {archive}"),
        ("zip", "zip -qr - reviews > {archive}"),
        ("zip", "cd reviews; zip -q0Dr {archive}.zip .; mv {archive}.zip {archive}"),
    ],
)
def test_what_the_usual_programs_pack_is_unpacked(tmp_path: Path, package: Path, program: str, command: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    subprocess.run(command.format(archive=tmp_path / "archive"), shell=True, cwd=package.parent, check=True)  # noqa: S602
    assert _unpacked(tmp_path / "archive") == package_digest(package)


def test_a_folder_may_be_named_like_a_file_in_it(tmp_path: Path, package: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w") as archive:
        archive.add(package, "onnx")
    assert _unpacked(tmp_path / "archive") == package_digest(package)


def test_the_content_says_what_it_is_and_not_the_name(tmp_path: Path, package: Path) -> None:
    with tarfile.open(tmp_path / "archive.zip", "w:gz") as archive:
        archive.add(package, "reviews")
    assert _unpacked(tmp_path / "archive.zip") == package_digest(package)


def test_an_unpacked_package_takes_the_place_of_what_was_there(tmp_path: Path, package: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "left behind").touch()
    with tarfile.open(tmp_path / "archive", "w") as archive:
        archive.add(package, ".")
    _unpacked(tmp_path / "archive")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "unpacked"]


def test_what_was_there_stays_where_an_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "kept").touch()
    (tmp_path / "archive").write_bytes(b"no archive")
    with pytest.raises(BadPackage):
        _unpacked(tmp_path / "archive")
    assert (tmp_path / "unpacked" / "kept").exists()


def test_bytes_are_counted_to_the_last(tmp_path: Path, package: Path) -> None:
    size_bytes = sum(path.stat().st_size for path in package.rglob("*") if path.is_file())
    with tarfile.open(tmp_path / "archive", "w:gz") as archive:
        archive.add(package, ".")
    unpack(tmp_path / "archive", tmp_path / "unpacked", max_unpacked_bytes=size_bytes, max_files=3)
    for max_bytes, max_files in ((size_bytes - 1, 3), (size_bytes, 2)):
        with pytest.raises(BadPackage, match="more than"):
            unpack(tmp_path / "archive", tmp_path / "more", max_unpacked_bytes=max_bytes, max_files=max_files)


def test_a_full_disk_is_not_the_uploaders_mistake(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "archive", "w") as archive:
        archive.add(package, ".")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        _unpacked(tmp_path / "archive")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
