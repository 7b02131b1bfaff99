"""The same input gives the same bytes, once; a kill leaves the old dataset whole."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.etl import build as build_module
from tunelane_components.etl import finish
from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import read_split, read_summary
from tunelane_components.etl.split import SPLITS
from tunelane_serving.files import sha256_bytes, sha256_file

Rows = list[dict[str, Any]]
CONTENT = ("train.jsonl", "valid.jsonl", "test.jsonl", "taxonomy.json")


@pytest.fixture
def rows() -> Rows:
    """2,000 rows with duplicates, conflicts, repeated ids, near-duplicates and rows that cannot be used."""
    generator = random.Random(3)  # noqa: S311 - no secret
    words = ["red", "blue", "green", "small", "large", "warm", "cold", "early", "late", "quiet", "loud", "round"]
    found: Rows = [
        {
            "key": f"k{number % 1_700}",
            "text": f"{number} " + " ".join(generator.choices(words, k=9)),
            "label": generator.choice("abc"),
            "from": generator.choice(["x", "y"]),
        }
        for number in range(1_800)
    ]
    found += [{**row, "text": row["text"].upper()} for row in generator.sample(found, 100)]
    found += [{**row, "label": "c" if row["label"] != "c" else "a"} for row in generator.sample(found, 30)]
    found += [{**row, "text": f"{row['text']} too", "key": ""} for row in generator.sample(found, 60)]
    found += [{"key": "", "text": "", "label": "a", "from": ""}] * 10
    return found


def write_folder(folder: Path, rows: Rows, files: int) -> Path:
    """Spread rows over files of several kinds."""
    folder.mkdir(parents=True)
    for number in range(files):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows[number::files]).encode()
        name = folder / f"part-{number}.jsonl"
        if number % 2:
            Path(f"{name}.gz").write_bytes(gzip.compress(lines))
        else:
            name.write_bytes(lines)
    return folder


OPTIONS: dict[str, Any] = {"id_field": "key", "source_field": "from", "rows": 1_500, "max_per_label": 350}


def test_rows_in_another_order_and_in_other_files_give_the_same_bytes(rows: Rows, tmp_path: Path) -> None:
    one = build_dataset(str(write_folder(tmp_path / "a", rows, 1)), tmp_path / "one", **OPTIONS).summary
    random.Random(9).shuffle(rows)  # noqa: S311 - no secret
    other = build_dataset(str(write_folder(tmp_path / "b", rows, 5)), tmp_path / "other", **OPTIONS).summary
    assert one.digest == other.digest
    assert one.rows_cut and one.rows_over_cap and one.rows_near_duplicate and one.repeated_ids and one.conflicting_texts
    for name in CONTENT:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_every_file_is_byte_identical_for_the_same_input_however_it_is_worked_on(
    rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(write_folder(tmp_path / "data", rows, 3))
    build_dataset(data, tmp_path / "here", **OPTIONS)
    monkeypatch.setattr(build_module, "_PARTITION_BYTES", 20_000)
    build_dataset(data, tmp_path / "there", workers=2, **OPTIONS)
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert here == {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()}


def test_a_build_that_was_done_before_does_nothing(rows: Rows, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", rows, 3)
    assert build_dataset(str(data), tmp_path / "out", **OPTIONS).is_new
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = build_dataset(str(data), tmp_path / "out", **OPTIONS)
    assert not again.is_new
    assert again.summary == read_summary(tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_anything_that_differs_builds_anew(rows: Rows, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", rows, 3)
    out = tmp_path / "out"

    def is_new(**options: Any) -> bool:
        return build_dataset(str(data), out, **{**OPTIONS, **options}).is_new

    assert is_new()
    assert is_new(test_fraction=0.2)
    assert not is_new(test_fraction=0.2)
    assert is_new()
    # One byte of one file, its size unchanged.
    path = data / "part-0.jsonl"
    path.write_bytes(path.read_bytes().replace(b"red", b"rod", 1))
    assert is_new()
    (data / "part-9.jsonl").write_text('{"key": "z", "text": "one more", "label": "a", "from": "x"}\n')
    assert is_new()
    # What was written has changed since.
    with (out / "train.jsonl").open("a") as stream:
        stream.write("\n")
    assert is_new()
    (out / "quarantine.jsonl").unlink()
    assert is_new()
    template = tmp_path / "prompt.jinja"
    template.write_text(
        "{% block system %}Labels: {{ labels | map(attribute='name') | join(', ') }}{% endblock %}"
        "{% block user %}{{ text }}{% endblock %}"
    )
    assert is_new(formats="messages")
    assert is_new(formats="messages", prompt_template=str(template))
    assert not is_new(formats="messages", prompt_template=str(template))


def test_the_upload_is_made_once(rows: Rows, tmp_path: Path) -> None:
    data = str(write_folder(tmp_path / "data", rows, 3))
    first = build_dataset(data, tmp_path / "out", upload_root=str(tmp_path / "root"), **OPTIONS)
    second = build_dataset(data, tmp_path / "elsewhere", upload_root=str(tmp_path / "root"), **OPTIONS)
    assert first.uploaded_to == second.uploaded_to
    assert len([*(tmp_path / "root" / "training-data").iterdir()]) == 1
    for split in SPLITS:
        assert read_split(Path(first.uploaded_to), split) == read_split(tmp_path / "out", split)


BUILD = """
import sys
from pathlib import Path
from tunelane_components.etl.build import build_dataset
build_dataset(sys.argv[1], Path(sys.argv[2]), id_field="key", source_field="from", formats="messages", workers=2)
"""


def digests_of(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): sha256_file(path) for path in directory.rglob("*") if path.is_file()}


def killed(data: Path, out: Path, is_time: Callable[[], bool]) -> int:
    """Build in a process of its own, and kill it when it is time, if it still lives; give its exit code."""
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(data), str(out)], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if is_time():
            os.kill(process.pid, signal.SIGKILL)
            return process.wait()
        time.sleep(0.001)
    return process.returncode


def check_kills(rows: Rows, tmp_path: Path, times: Iterable[Callable[[], bool]]) -> None:
    old, new = write_folder(tmp_path / "old", rows, 2), write_folder(tmp_path / "new", rows[:-50], 2)
    out, built = tmp_path / "out", {}
    for data in (new, old):
        assert killed(data, out, lambda: False) == 0
        built[data] = digests_of(out)
    codes = set()
    for is_time in times:
        codes.add(killed(new, out, is_time))
        assert digests_of(out) in built.values()
        assert killed(old, out, lambda: False) == 0
        assert digests_of(out) == built[old]
        # What the killed one left goes with the next; its workers, which end with it, may still be at their last task.
        for _ in range(20):
            left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
            if not left:
                break
            time.sleep(0.5)
            assert killed(old, out, lambda: False) == 0
        assert left == []
    assert -signal.SIGKILL in codes


def test_a_build_that_is_killed_leaves_the_old_dataset_whole(rows: Rows, tmp_path: Path) -> None:
    # When it has begun to write.
    check_kills(rows, tmp_path, [lambda: any(tmp_path.glob(".out.*/work/parts/*"))])


@pytest.mark.slow
def test_a_build_that_is_killed_at_any_moment_leaves_the_old_dataset_whole(rows: Rows, tmp_path: Path) -> None:
    generator = random.Random(0)  # noqa: S311 - no secret

    def after(seconds: float) -> Callable[[], bool]:
        started: list[float] = []

        def is_time() -> bool:
            # From the first sight of the new directory on.
            if not started and any(tmp_path.glob(".out.*.partial")):
                started.append(time.monotonic())
            return bool(started) and time.monotonic() - started[0] >= seconds

        return is_time

    check_kills(rows, tmp_path, [after(generator.uniform(0, 1.5)) for _ in range(30)])


# By `_BUILD_VERSION`: what a build of `rows` wrote when that version was current.
DIGEST_BY_VERSION = {
    1: (
        "682f288ca4a80eec6e4a7a404eb5ec4ee3268adab3b0bdeaf55017f5913e9b5c",
        "c8ea821c6aad0582b2ddea5c54d37ed2af24a9a5604f647dd260b8dd45134387",
    )
}


def test_a_change_of_what_is_written_needs_a_new_version(rows: Rows, tmp_path: Path) -> None:
    """Where this fails on purpose, raise finish._BUILD_VERSION, so that old datasets are built anew."""
    data = str(write_folder(tmp_path / "data", rows, 3))
    summary = build_dataset(data, tmp_path / "out", **OPTIONS, formats="messages,gemini").summary
    files = "".join(f"{name} {digest}\n" for name, digest in sorted(summary.files.items()))
    assert (summary.digest, sha256_bytes(files.encode())) == DIGEST_BY_VERSION[finish._BUILD_VERSION]
