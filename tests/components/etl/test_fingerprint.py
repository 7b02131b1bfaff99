"""The fingerprint of a dataset's sources: the same for the same, another after any change."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from fsspec import AbstractFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelane_components.etl.component import fingerprint_data
from tunelane_components.etl.fingerprint import fingerprint
from tunelane_serving.errors import InputError

_ROWS = b"text,label\ngood,praise\n"
_FILES = st.dictionaries(
    st.sampled_from(["a.csv", "b.csv", "c.jsonl", "folder/a.csv", "folder/d.tsv", "read.me"]),
    st.binary(max_size=12),
    min_size=1,
).filter(lambda files: files.keys() != {"read.me"})


def _write(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(_FILES, st.data())
def test_any_change_to_the_files_changes_it_and_undoing_it_brings_it_back(
    files: dict[str, bytes], drawn: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = _write(folder, files)
        before = fingerprint(data)
        assert fingerprint(data) == before

        name = drawn.draw(st.sampled_from(sorted(files)))
        path = folder / name
        if name != "read.me":
            stat = path.stat()
            path.write_bytes(drawn.draw(st.binary(max_size=12).filter(lambda content: content != files[name])))
            # As a copy that keeps times does.
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            assert fingerprint(data) != before
            path.write_bytes(files[name])
            assert fingerprint(data) == before

        path.rename(path.with_name(f"x{path.name}"))
        assert fingerprint(data) != before
        path.with_name(f"x{path.name}").rename(path)
        assert fingerprint(data) == before

        (folder / "more.csv").write_bytes(b"")
        assert fingerprint(data) != before
        (folder / "more.csv").unlink()
        assert fingerprint(data) == before

        if len(files.keys() - {"read.me"}) > 1:
            path.unlink()
            assert fingerprint(data) != before


@settings(max_examples=20)
@given(_FILES, st.randoms(use_true_random=False))
def test_the_order_in_which_files_were_written_does_not_count(
    files: dict[str, bytes], random: "st.random.Random"
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = _write(Path(scratch) / "data", files)
        before = fingerprint(data)
        Path(data).rename(Path(scratch) / "old")
        names = list(files)
        random.shuffle(names)
        _write(Path(data), {name: files[name] for name in names})
        assert fingerprint(data) == before


def test_files_that_change_places_change_it(tmp_path: Path) -> None:
    data = _write(tmp_path, {"a.csv": b"one", "b.csv": b"two"})
    before = fingerprint(data)
    _write(tmp_path, {"a.csv": b"two", "b.csv": b"one"})
    assert fingerprint(data) != before


def test_it_tells_which_files_judge_the_model(tmp_path: Path) -> None:
    one, two = _write(tmp_path / "one", {"a.csv": b"one"}), _write(tmp_path / "two", {"b.csv": b"two"})
    prints = {fingerprint(one), fingerprint(one, test_data=two), fingerprint(two, test_data=one), fingerprint(two)}
    assert len(prints) == 4


@pytest.mark.parametrize("parameter", ["test_data", "taxonomy", "prompt_template", "tokenizer"])
def test_what_stands_besides_the_data_counts_by_its_content(parameter: str, tmp_path: Path) -> None:
    data = _write(tmp_path / "data", {"a.csv": _ROWS})
    other = tmp_path / "other.json"
    seen = {fingerprint(data)}
    for content in ("[1]", "[2]"):
        other.write_text(content)
        said = fingerprint(data, **{parameter: str(other)})
        assert said == fingerprint(data, **{parameter: str(other)})
        seen.add(said)
    assert len(seen) == 3


def test_of_a_base_model_only_the_tokenizer_counts_and_none_is_fine(tmp_path: Path) -> None:
    data = _write(tmp_path / "data", {"a.csv": _ROWS})
    model = tmp_path / "model"
    _write(model, {"model.safetensors": b"one"})
    assert fingerprint(data, tokenizer=str(model)) == fingerprint(data)
    _write(model, {"tokenizer.json": b"{}"})
    before = fingerprint(data, tokenizer=str(model))
    assert before != fingerprint(data)
    _write(model, {"model.safetensors": b"two"})
    assert fingerprint(data, tokenizer=str(model)) == before


def test_a_store_that_names_no_versions_has_its_bytes_read() -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/prints/a.csv", b"one")
    before = fingerprint("memory://prints")
    files.pipe_file("/prints/a.csv", b"two")
    assert fingerprint("memory://prints") != before
    files.pipe_file("/prints/a.csv", b"one")
    assert fingerprint("memory://prints/*.csv") == fingerprint("memory://prints") == before


class _Versions(AbstractFileSystem):
    """A bucket with one object that has S3's fields, as s3fs gives them; its bytes cannot be read."""

    protocol = "versions"
    etag, time = '"1"', "2026-01-01"

    def ls(self, path: str, **_: object) -> list[dict[str, object]]:
        if path.rstrip("/") not in ("bucket", "bucket/a.csv"):
            raise FileNotFoundError(path)
        fields = {"ETag": self.etag, "LastModified": self.time}
        return [{"name": "bucket/a.csv", "type": "file", "size": 3, **fields}]


@pytest.mark.parametrize("data", ["versions://bucket/a.csv", "versions://bucket", "versions://bucket/*.csv"])
def test_a_version_that_the_store_names_stands_for_the_bytes(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("versions", _Versions, clobber=True)
    before = fingerprint(data)
    assert fingerprint(data) == before
    for field in ("etag", "time"):
        with monkeypatch.context() as patch:
            patch.setattr(_Versions, field, "other")
            assert fingerprint(data) != before
    assert fingerprint(data) == before


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed transformer."""
    info = tmp_path / "site" / "diary-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[tunelane.sources]\ndiary = diaries:read\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return "diary"


def test_what_only_a_transformer_knows_is_new_each_time(diary: str) -> None:
    assert fingerprint("anywhere", source_format=diary) != fingerprint("anywhere", source_format=diary)


def test_a_build_that_uploads_is_never_taken_for_done(tmp_path: Path) -> None:
    data = _write(tmp_path, {"a.csv": _ROWS})
    assert fingerprint(data, upload_root="gs://bucket") != fingerprint(data, upload_root="gs://bucket")


def test_a_pipe_is_left_for_the_build_to_read(tmp_path: Path) -> None:
    pipe = tmp_path / "rows.csv"
    os.mkfifo(pipe)
    assert fingerprint(str(pipe)) != fingerprint(str(pipe))


def test_it_refuses_what_the_build_would_refuse(tmp_path: Path) -> None:
    data = _write(tmp_path, {"a.csv": _ROWS})
    refusals: list[tuple[Callable[[], str], str]] = [
        (lambda: fingerprint("/no/rows.csv"), r"^No such file or directory: /no/rows\.csv\. Pass --set data="),
        (lambda: fingerprint(data, test_data="/no/t.csv"), "Pass --set test_data="),
        (lambda: fingerprint(data, taxonomy="/no/labels.yaml"), "Pass --set taxonomy="),
        (lambda: fingerprint(data, tokenizer="/no/model"), "Pass --set tokenizer="),
        (lambda: fingerprint(data, source_format="cvs"), "Unknown source_format 'cvs'"),
    ]
    for ask, message in refusals:
        with pytest.raises(InputError, match=message):
            ask()


def test_the_component_gives_the_fingerprint(tmp_path: Path) -> None:
    data, taxonomy = _write(tmp_path / "data", {"a.csv": _ROWS}), tmp_path / "labels.yaml"
    taxonomy.write_text("labels: [praise, billing]")
    said = fingerprint_data.python_func(data, taxonomy=str(taxonomy), test_data=data)
    assert said == fingerprint(data, taxonomy=str(taxonomy), test_data=data)
    assert len(said) == 64
    int(said, 16)
