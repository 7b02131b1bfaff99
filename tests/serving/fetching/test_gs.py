import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.fetching.gs import CloudStorage

if TYPE_CHECKING:
    from tests.serving.fetching.conftest import FakeStorage

_CONTENT = os.urandom(300_000)


@pytest.fixture
def pauses() -> list[float]:
    """Collect how long was waited, without waiting."""
    return []


@pytest.fixture
def models(storage: "FakeStorage", pauses: list[float]) -> CloudStorage:
    """Open the folder `models` of a bucket with some objects."""
    storage.objects = {
        "bucket/models/a.bin": _CONTENT,
        "bucket/models/onnx/b.bin": b"b",
        "bucket/models/onnx/": b"",
        "bucket/models/ü ?#%.txt": b"odd",
        "bucket/models/empty": b"",
        "bucket/models2/c.bin": b"c",
        "bucket/top": b"t",
    }
    return CloudStorage("gs://bucket/models/", sleep=pauses.append)


def test_what_is_there_and_what_is_not(models: CloudStorage) -> None:
    assert models.exists("onnx/b.bin")
    assert models.exists("ü ?#%.txt")
    assert not models.exists("onnx")
    assert CloudStorage("gs://bucket").exists("models/a.bin")


@pytest.mark.parametrize(("name", "content"), [("a.bin", _CONTENT), ("ü ?#%.txt", b"odd"), ("empty", b"")])
def test_an_object_is_downloaded_as_it_is(name: str, content: bytes, models: CloudStorage, tmp_path: Path) -> None:
    models.download(name, tmp_path / "made" / "file")
    assert (tmp_path / "made" / "file").read_bytes() == content
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["file"]


def test_a_download_replaces_the_file_that_was_there(models: CloudStorage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("older and longer than it")
    models.download("onnx/b.bin", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"b"


@pytest.mark.parametrize("failures", [[503], [429, 500, 502], [None], [None, 503, None, 504]])
def test_what_fails_for_a_while_is_tried_again(
    failures: list[int | None], models: CloudStorage, storage: "FakeStorage", pauses: list[float], tmp_path: Path
) -> None:
    storage.failures = list(failures)
    models.download("a.bin", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == _CONTENT
    assert len(pauses) == len(failures)
    assert all(0 < pause_s <= 30 for pause_s in pauses)


def test_pauses_grow(models: CloudStorage, storage: "FakeStorage", pauses: list[float]) -> None:
    storage.failures = [503] * 5
    assert models.exists("a.bin")
    assert 0.25 <= pauses[0] <= 0.5
    assert 4 <= pauses[4] <= 8


def test_the_pause_is_what_the_server_asks_for(
    models: CloudStorage, storage: "FakeStorage", pauses: list[float]
) -> None:
    storage.failures, storage.retry_after_s = [429, 503], "3"
    assert models.exists("a.bin")
    assert pauses == [3.0, 3.0]


def test_what_fails_for_good_is_given_up_with_one_line(
    models: CloudStorage, storage: "FakeStorage", pauses: list[float], tmp_path: Path
) -> None:
    storage.failures = [503] * 100
    with pytest.raises(TunelaneError, match=r"^Cannot reach gs://bucket/models/a\.bin: .*503 the fake was told to$"):
        models.download("a.bin", tmp_path / "file")
    assert len(pauses) == 5
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_the_request_is_not_tried_again(
    models: CloudStorage, storage: "FakeStorage", pauses: list[float]
) -> None:
    storage.failures = [400]
    with pytest.raises(TunelaneError, match="400"):
        models.exists("a.bin")
    assert pauses == []


def test_a_download_that_breaks_goes_on_where_it_stopped(
    models: CloudStorage, storage: "FakeStorage", tmp_path: Path
) -> None:
    storage.cut_bytes = [100_000, 50_000, 0]
    models.download("a.bin", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == _CONTENT
    assert storage.ranges == ["bytes=100000-", "bytes=150000-", "bytes=150000-"]


def test_a_download_that_always_brings_a_little_comes_to_its_end(
    models: CloudStorage, storage: "FakeStorage", tmp_path: Path
) -> None:
    # More breaks than attempts: only those that brought nothing count.
    storage.cut_bytes = [10_000] * 20
    models.download("a.bin", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == _CONTENT


def test_content_that_changed_on_the_way_is_refused(
    models: CloudStorage, storage: "FakeStorage", tmp_path: Path
) -> None:
    storage.corrupt = True
    with pytest.raises(TunelaneError, match="another MD5"):
        models.download("a.bin", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    # One that was composed of others has no MD5; its size is held.
    storage.composed = {"bucket/models/a.bin"}
    models.download("a.bin", tmp_path / "file")


def test_an_object_that_is_stored_packed_is_refused(
    models: CloudStorage, storage: "FakeStorage", tmp_path: Path
) -> None:
    storage.gzipped = {"bucket/models/a.bin"}
    with pytest.raises(InputError, match="gzip-encoded"):
        models.download("a.bin", tmp_path / "file")


def test_an_object_that_is_not_there_is_named(models: CloudStorage, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^There is no gs://bucket/models/absent\. Check"):
        models.download("absent", tmp_path / "file")


def test_a_missing_right_is_named(models: CloudStorage, storage: "FakeStorage") -> None:
    storage.forbidden = True
    with pytest.raises(InputError, match=r"No right to gs://bucket/models/a\.bin, .*Storage Object Viewer"):
        models.exists("a.bin")


@pytest.mark.parametrize("size_bytes", [0, 1, 300_000])
def test_an_uploaded_file_comes_back_the_same(
    size_bytes: int, models: CloudStorage, storage: "FakeStorage", tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(_CONTENT[:size_bytes])
    models.upload("new/ü.bin", tmp_path / "source")
    assert storage.objects["bucket/models/new/ü.bin"] == _CONTENT[:size_bytes]
    models.download("new/ü.bin", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == _CONTENT[:size_bytes]


def test_a_large_file_is_uploaded_in_parts(
    models: CloudStorage, storage: "FakeStorage", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunelane_serving.fetching.gs._UPLOAD_CHUNK_BYTES", 100_000)
    (tmp_path / "source").write_bytes(_CONTENT)
    models.upload("new", tmp_path / "source")
    assert storage.objects["bucket/models/new"] == _CONTENT
    assert sum(request.startswith("PUT") for request in storage.requests) == 3


def test_an_upload_that_breaks_goes_on_from_what_arrived(
    models: CloudStorage,
    storage: "FakeStorage",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pauses: list[float],
) -> None:
    monkeypatch.setattr("tunelane_serving.fetching.gs._UPLOAD_CHUNK_BYTES", 200_000)
    (tmp_path / "source").write_bytes(_CONTENT)
    # A part of which some arrives, one of which nothing does, one that arrives whole and whose answer is lost.
    storage.taken_bytes = [60_000, 0, 200_000]
    models.upload("new", tmp_path / "source")
    assert storage.objects["bucket/models/new"] == _CONTENT
    assert len(pauses) == 3


def test_an_upload_that_never_arrives_is_given_up(
    models: CloudStorage, storage: "FakeStorage", tmp_path: Path, pauses: list[float]
) -> None:
    (tmp_path / "source").write_bytes(_CONTENT)
    storage.taken_bytes = [0] * 100
    with pytest.raises(TunelaneError, match=r"^Cannot reach gs://bucket/models/new: .*503"):
        models.upload("new", tmp_path / "source")
    assert len(pauses) == 5
    assert "bucket/models/new" not in storage.objects


@pytest.mark.parametrize("uri", ["", "gs://", "gs:///folder", "s3://bucket/folder", "gs://Bad_Bucket!/x", "bucket/x"])
def test_what_is_no_place_in_cloud_storage_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="Pass gs://BUCKET/FOLDER"):
        CloudStorage(uri)
