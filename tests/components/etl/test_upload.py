import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tunelane_components.etl.upload import upload_dataset
from tunelane_serving.errors import ContractError, InputError, TunelaneError

NOW = datetime(2026, 11, 21, 10, 44, 55, tzinfo=UTC)
Make = Callable[..., Path]


class FlakyFileSystem(MemoryFileSystem):
    """A store of its own that refuses or cuts short the file whose name holds `fault_at`."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012 - fsspec's own form
    pseudo_dirs: list[str] = [""]  # noqa: RUF012
    fault_at = ""
    fault: Exception | None = None
    sent: list[str] = []  # noqa: RUF012

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        self.sent.append(rpath.rpartition("/")[2])
        if not self.fault_at or self.fault_at not in rpath:
            super().put_file(lpath, rpath, **options)
        elif self.fault:
            raise self.fault
        else:
            self.pipe_file(rpath, Path(lpath).read_bytes()[:-1])

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("flaky://").strip("/")


@pytest.fixture
def flaky() -> Iterator[type[FlakyFileSystem]]:
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    FlakyFileSystem.store.clear()
    FlakyFileSystem.pseudo_dirs[:] = [""]
    FlakyFileSystem.sent.clear()
    FlakyFileSystem.fault_at, FlakyFileSystem.fault = "", None
    yield FlakyFileSystem
    FlakyFileSystem.fault_at = ""


@pytest.fixture
def memory() -> MemoryFileSystem:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    return files


@pytest.fixture
def make_dataset(tmp_path: Path) -> Make:
    """Write a dataset's directory as an upload sees it: files, and dataset.json with their digests."""

    def make(name: str = "dataset", text: str = "A", formats: tuple[str, ...] = ()) -> Path:
        directory = tmp_path / name
        contents = {f"{split}.jsonl": f'{{"text": "{text} {split}"}}\n' for split in ("train", "valid", "test")}
        contents["taxonomy.json"] = "{}"
        contents["quarantine.jsonl"] = ""
        digest = hashlib.sha256(json.dumps(contents).encode()).hexdigest()
        for kind in formats:
            contents[f"{kind}/train.jsonl"] = f'{{"{kind}": "{text}"}}\n'
        for file, content in contents.items():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_text(content)
        files = {file: hashlib.sha256(content.encode()).hexdigest() for file, content in contents.items()}
        summary = {"digest": digest, "files": files, "rows_read": 3, "version": 9}
        (directory / "dataset.json").write_text(json.dumps(summary))
        (directory / "dataset.html").write_text("<p>report")
        return directory

    return make


def digest_of(dataset: Path) -> str:
    return str(json.loads((dataset / "dataset.json").read_text())["digest"])


def contents_of(uri: str) -> dict[str, bytes]:
    file_system, path = fsspec.core.url_to_fs(uri)
    return {name[len(path) :].strip("/"): file_system.cat_file(name) for name in file_system.find(path)}


def files_of(dataset: Path) -> dict[str, bytes]:
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in dataset.rglob("*") if path.is_file()}


@pytest.fixture(params=["path", "file://", "memory://", "flaky://"])
def root(request: pytest.FixtureRequest, tmp_path: Path, memory: MemoryFileSystem, flaky: type[FlakyFileSystem]) -> str:
    local = tmp_path / "a root" / "deep"
    return {"path": str(local), "file://": local.as_uri()}.get(request.param, f"{request.param}bucket/deep")


def test_every_file_arrives_under_a_name_of_time_and_digest(root: str, make_dataset: Make, tmp_path: Path) -> None:
    dataset = make_dataset(formats=("gemini", "messages"))
    uri = upload_dataset(dataset, root, now=NOW)
    base = str(tmp_path / "a root" / "deep") if "root" in root else root
    assert uri == f"{base}/training-data/20261121T104455Z-{digest_of(dataset)[:12]}"
    assert contents_of(uri) == files_of(dataset)
    assert "gemini/train.jsonl" in contents_of(uri)


def test_a_dataset_that_is_there_is_not_sent_again(root: str, make_dataset: Make) -> None:
    dataset = make_dataset()
    first = upload_dataset(dataset, root, now=NOW)
    said: list[str] = []
    assert upload_dataset(dataset, f"{root}/", now=NOW + timedelta(days=1), progress=said.append) == first
    assert said == [f"{first} holds this dataset already"]
    file_system, folder = fsspec.core.url_to_fs(first.rpartition("/")[0])
    assert len(file_system.ls(folder)) == 1


def test_another_digest_or_another_format_is_another_upload(root: str, make_dataset: Make) -> None:
    datasets = [
        make_dataset("one"),
        make_dataset("other", text="B"),
        make_dataset("with-gemini", formats=("gemini",)),
        make_dataset("with-both", formats=("gemini", "messages")),
    ]
    # At one moment: two of one digest must not share a folder.
    uris = [upload_dataset(dataset, root, now=NOW) for dataset in datasets]
    assert len(set(uris)) == 4
    for dataset, uri in zip(datasets, uris, strict=True):
        assert contents_of(uri) == files_of(dataset)
        assert upload_dataset(dataset, root, now=NOW + timedelta(days=1)) == uri


def test_the_name_is_in_utc_and_now_when_nothing_else_is_said(make_dataset: Make, tmp_path: Path) -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    assert "/20261121T104455Z-" in upload_dataset(make_dataset(), str(tmp_path / "one"), now=east)
    before = datetime.now(UTC).replace(microsecond=0)
    name = upload_dataset(make_dataset(), str(tmp_path / "two")).rpartition("/")[2]
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{12}", name)
    assert before <= datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)


def test_dataset_json_goes_last_and_each_file_is_told(make_dataset: Make, flaky: type[FlakyFileSystem]) -> None:
    said: list[str] = []
    upload_dataset(make_dataset(), "flaky://bucket", now=NOW, progress=said.append)
    assert flaky.sent[-1] == "dataset.json"
    assert len(said) == len(flaky.sent) == 7
    assert said[-1] == "Uploading dataset.json, 0.0 MB (7 of 7)"


@pytest.mark.parametrize("file", ["dataset.html", "train.jsonl", "dataset.json"])
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (ConnectionError("connection\nreset by peer"), "connection reset by peer"),
        (
            OSError("Forbidden: b/bucket/o\nno storage.objects.create."),
            "Forbidden: b/bucket/o no storage.objects.create",
        ),
        (FileNotFoundError("b/bucket/o"), "no such bucket or folder"),
        (PermissionError(13, "Permission denied", "/bucket"), "Permission denied: /bucket"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_upload_that_breaks_off_is_one_line_and_never_complete(
    file: str, fault: Exception, why: str, make_dataset: Make, flaky: type[FlakyFileSystem]
) -> None:
    dataset = make_dataset()
    flaky.fault_at, flaky.fault = file, fault
    with pytest.raises(InputError) as caught:
        upload_dataset(dataset, "flaky://bucket", now=NOW)
    assert str(caught.value) == (
        f"Cannot upload to flaky://bucket: {why}. Check that it exists and that you may write there."
    )
    flaky.fault_at = ""
    left = dict(flaky.store)
    uri = upload_dataset(dataset, "flaky://bucket", now=NOW)
    assert contents_of(uri) == files_of(dataset)
    # What was cut short is as it was, and nothing was added to it.
    assert {name: flaky.store[name] for name in left} == left
    assert not any(uri in f"flaky:/{name}" for name in left)


@pytest.mark.parametrize("file", ["train.jsonl", "dataset.json"])
def test_a_file_that_arrives_short_is_found_and_the_upload_is_made_again(
    file: str, make_dataset: Make, flaky: type[FlakyFileSystem]
) -> None:
    dataset = make_dataset()
    flaky.fault_at = file
    with pytest.raises(TunelaneError, match=rf"{file}: \d+ of \d+ bytes arrived. Upload again\.$") as caught:
        upload_dataset(dataset, "flaky://bucket", now=NOW)
    assert not isinstance(caught.value, InputError)
    flaky.fault_at = ""
    uri = upload_dataset(dataset, "flaky://bucket", now=NOW)
    assert contents_of(uri) == files_of(dataset)


def test_a_local_upload_that_fails_leaves_nothing(
    make_dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", "/full")

    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(InputError, match=r"No space left on device: /full\. Check that"):
        upload_dataset(make_dataset(), str(tmp_path / "root"), now=NOW)
    assert list((tmp_path / "root" / "training-data").iterdir()) == []


def test_a_root_that_cannot_be_made_is_one_line(make_dataset: Make) -> None:
    # Nobody makes directories in /proc, not even root.
    with pytest.raises(InputError, match=r"^Cannot upload to /proc/root-of-data: No such file or directory: /proc"):
        upload_dataset(make_dataset(), "/proc/root-of-data", now=NOW)


def test_a_root_that_is_a_file_is_one_line(make_dataset: Make, tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(InputError, match=rf"^Cannot upload to {tmp_path}/root: Not a directory"):
        upload_dataset(make_dataset(), str(tmp_path / "root"), now=NOW)


def test_an_unknown_scheme_and_an_empty_root_say_what_to_pass(make_dataset: Make) -> None:
    with pytest.raises(InputError, match=r"nope://x: .*Use a local path or a gs:// URI\.$"):
        upload_dataset(make_dataset(), "nope://x")
    with pytest.raises(InputError, match=r"^No upload_root was given\. Pass --set upload_root="):
        upload_dataset(make_dataset(), " ")


@pytest.mark.parametrize("inside", [".", "uploads"])
def test_a_root_in_the_dataset_is_refused(inside: str, make_dataset: Make) -> None:
    dataset = make_dataset()
    with pytest.raises(InputError, match=r"which lies in it\. Choose another upload_root\.$"):
        upload_dataset(dataset, str(dataset / inside))


def test_a_directory_that_is_no_whole_dataset_is_refused(make_dataset: Make, tmp_path: Path) -> None:
    dataset = make_dataset()
    (dataset / "valid.jsonl").unlink()
    with pytest.raises(ContractError, match=r"valid\.jsonl is missing, which dataset\.json names\. Build the dataset"):
        upload_dataset(dataset, str(tmp_path / "root"))
    (dataset / "dataset.json").write_text("{}")
    with pytest.raises(ContractError, match=r"dataset\.json"):
        upload_dataset(dataset, str(tmp_path / "root"))
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"digest": 1}', b"\xff"])
def test_a_foreign_dataset_json_is_not_taken_for_complete(content: bytes, make_dataset: Make, tmp_path: Path) -> None:
    dataset = make_dataset()
    first = Path(upload_dataset(dataset, str(tmp_path / "root"), now=NOW))
    (first / "dataset.json").write_bytes(content)
    second = Path(upload_dataset(dataset, str(tmp_path / "root"), now=NOW))
    assert second != first
    assert files_of(second) == files_of(dataset)
    assert (first / "dataset.json").read_bytes() == content


def test_uploads_of_one_dataset_at_the_same_time_are_all_complete(root: str, make_dataset: Make) -> None:
    dataset = make_dataset(formats=("gemini",))
    started = threading.Barrier(4)
    uris: list[str] = []

    def upload() -> None:
        started.wait()
        uris.append(upload_dataset(dataset, root, now=NOW))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(uris) == 4
    for uri in uris:
        assert contents_of(uri) == files_of(dataset)
