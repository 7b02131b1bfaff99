"""A run at its beginning."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunelane_pipelines.dag import DagTask
from tunelane_pipelines.runs.new import make_run_directory, new_record, new_run_id
from tunelane_serving.errors import InputError

_LABEL = re.compile(r"[a-z0-9_-]{0,63}")  # https://cloud.google.com/resource-manager/docs/labels-overview
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("pipeline", ["train-classifier", "convert"])
def test_a_run_s_id_is_a_legal_label_and_no_two_are_alike(pipeline: str) -> None:
    first, second = (new_run_id(pipeline, _NOW) for _ in range(2))
    assert _LABEL.fullmatch(first) and first.startswith(f"{pipeline}-{_NOW.astimezone():%Y%m%d}")
    assert first != second


def test_a_record_has_no_secret_and_can_be_written_whatever_was_typed() -> None:
    record = new_record(
        "r",
        "convert",
        "Convert",
        "vertex",
        _NOW,
        command="tunelane submit --set uri=x://u:pa55@h caf\udce9",
        parameters={"uri": "x://u:pa55@h", "rows": 3},
        tasks=(DagTask("one", "One", "one_component", ("zero",)),),
    )
    assert record.command.endswith("uri=x://u:***@h caf\\udce9")
    assert record.parameters == {"uri": "x://u:***@h", "rows": 3}
    assert [(task.name, task.component, task.state) for task in record.tasks] == [("one", "one_component", "pending")]


def test_a_root_that_is_none_is_named(tmp_path: Path) -> None:
    assert make_run_directory(tmp_path / "root", "r").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"Cannot write to the root .*Choose another with --root"):
        make_run_directory(tmp_path / "file", "r")
