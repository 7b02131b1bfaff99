"""The check that each row of a nasty input has the fate that its case says.

A case is a mapping:

- `files`: name below the folder of the data → its bytes, or a function that makes them.
- `beside`: the same for what is no data: a taxonomy, rows to test on. The build runs where they lie.
- `data`: what the build is given, below that folder; without it the file where there is one, else the folder.
- `options`: of `build_dataset`, above those that let a handful of rows through.
- `rows`: file → how many rows it holds, counted by hand.
- `kept`: text → its label or labels. `quarantined`: (file, line, reason, row). `merged`, `leaked`: counts of rows.
- `ids`, `splits`: text → what its record has or where it stands, for texts where the case is about that.
- `ignored`: the files of the folder that are passed over by their names, which is said.
- `error` instead of fates: words of the one line that refuses the data.
- `command`: its refusal is tried in a process of its own, too.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import read_split
from tunelane_components.etl.record import Record
from tunelane_components.etl.rows.candidates import QuarantinedRow
from tunelane_components.etl.split import SPLITS
from tunelane_serving.contract import read_lines
from tunelane_serving.errors import InputError

Case = Mapping[str, Any]

# A handful of rows is no dataset to train on; here they may be one.
OPTIONS: dict[str, Any] = {"minimum_rows": 0, "max_rejected_fraction": 1.0, "near_duplicate_threshold": 0.0}


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], str]:
    """Write a case's files; gives what the build is to read."""
    monkeypatch.chdir(tmp_path)

    def placed(case: Case) -> str:
        folder = tmp_path / "data"
        folder.mkdir()
        for below, files in ((folder, case["files"]), (tmp_path, case.get("beside", {}))):
            for name, content in files.items():
                path = below / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content() if callable(content) else content)
        if "data" in case:
            return f"{folder}/{case['data']}"
        return str(folder / next(iter(case["files"]))) if len(case["files"]) == 1 else str(folder)

    return placed


@pytest.fixture
def has_fates(tmp_path: Path) -> Callable[[str, Case], None]:
    """Build from what lies there and hold every row's fate against the case."""

    def has_fates(data: str, case: Case) -> None:
        output = tmp_path / "dataset"
        options = OPTIONS | case.get("options", {})
        if "error" in case:
            with pytest.raises(InputError) as caught:
                build_dataset(data, output, **options)
            _refuses(str(caught.value), case)
            assert not output.exists()
            return
        quarantined, merged, leaked = case.get("quarantined", []), case.get("merged", 0), case.get("leaked", 0)
        rows = sum(case["rows"].values())
        assert rows == len(case["kept"]) + len(quarantined) + merged + leaked, "the case itself does not add up"

        summary = build_dataset(data, output, **options).summary
        records = {split: read_split(output, split) for split in SPLITS}
        kept = [record for split in SPLITS for record in records[split]]
        assert {record.text: _labels(record) for record in kept} == case["kept"]
        assert len(kept) == len(case["kept"])
        assert case.get("ids", {}).items() <= {record.text: record.id for record in kept}.items()
        places = {record.text: split for split in SPLITS for record in records[split]}
        assert case.get("splits", {}).items() <= places.items()
        held = list(read_lines(output / "quarantine.jsonl", QuarantinedRow))
        assert sorted((row.file, row.line, row.reason, _as_json(row.row)) for row in held) == sorted(
            (file, line, reason, _as_json(row)) for file, line, reason, row in quarantined
        )
        assert all(row.detail and "\n" not in row.detail for row in held)
        assert summary.quarantined == dict(Counter(row.reason for row in held))
        assert (summary.rows_read, summary.rows_kept) == (rows, len(case["kept"]))
        assert (summary.rows_merged, summary.rows_leaked) == (merged, leaked)
        assert summary.ignored_files == case.get("ignored", ())

    return has_fates


@pytest.fixture
def check(placed: Callable[[Case], str], has_fates: Callable[[str, Case], None]) -> Callable[[Case], None]:
    """Write a case's files, build, and hold every row's fate against the case."""

    def check(case: Case) -> None:
        has_fates(placed(case), case)

    return check


@pytest.fixture
def command_refuses(placed: Callable[[Case], str], tmp_path: Path) -> Callable[[Case], None]:
    """Give a case to the real command, which must refuse it in one line with exit code 2."""

    def command_refuses(case: Case) -> None:
        output = tmp_path / "dataset"
        settings = [f"{name}={value}" for name, value in (OPTIONS | case.get("options", {})).items()]
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "tunelane_pipelines.cli", "data", "build", placed(case)),
                *("--output", str(output)),
                *(part for setting in settings for part in ("--set", setting)),
            ],
            capture_output=True, check=False, cwd=tmp_path, encoding="utf-8",
            env={name: value for name, value in os.environ.items() if not name.startswith("TUNELANE_")},
        )  # fmt: skip
        assert finished.returncode == 2, finished.stderr
        assert finished.stdout == ""
        _refuses(finished.stderr.removesuffix("\n"), case)
        assert not output.exists()

    return command_refuses


def _refuses(message: str, case: Case) -> None:
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 1000
    assert [words for words in case["error"] if words not in message] == [], message


def _as_json(row: Any) -> str:
    """A row in a form that tells 1 from true and from "1", and knows no order of columns."""
    return json.dumps(row, sort_keys=True)


def _labels(record: Record) -> str | tuple[str, ...]:
    return record.labels[0] if len(record.labels) == 1 else record.labels
