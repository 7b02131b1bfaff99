"""Bounds that the tasks of a training run would refuse, and wishes that no run can fulfil."""

from pathlib import Path
from typing import Any

import pytest

from tunelane_pipelines.doctor.check import Check
from tunelane_pipelines.doctor.training import check_bounds
from tunelane_pipelines.settings import load_settings


def _checks(**sections: dict[str, Any]) -> list[Check]:
    return list(check_bounds(load_settings(**sections)))


def test_what_is_not_set_is_not_spoken_of() -> None:
    assert _checks() == []


def test_sections_within_their_bounds_are_said_with_what_they_set() -> None:
    checks = _checks(
        model={"epochs": 3}, data={"rows": 500}, evaluation={"minimum_f1": 0.8}, serving={"quantize": False}
    )
    assert [(check.name, check.level, check.found) for check in checks] == [
        ("model", "ok", "epochs 3"),
        ("data", "ok", "rows 500"),
        ("evaluation", "ok", "minimum_f1 0.8"),
        ("serving", "ok", "quantize False"),
    ]


@pytest.mark.parametrize(
    ("section", "setting", "value", "words"),
    [
        ("model", "epochs", 0, "epochs must be at least 1"),
        ("model", "precision", "fp8", "auto, bf16 or fp32"),
        ("data", "test_fraction", 1.0, "their sum below 1"),
        ("data", "max_rejected_fraction", 2.0, "a share between 0 and 1"),
        ("data", "format", "xlsx", "xlsx"),
        ("data", "text_field", "{title", "text_field"),
        ("evaluation", "minimum_f1", 85.0, "from 0 to 1"),
        ("evaluation", "margin", -0.1, "a worse model is never promoted"),
        ("evaluation", "minimum_support", 0, "pass 1 or more"),
        ("serving", "min_agreement", 95.0, "a share from 0 to 1"),
        ("serving", "min_f1_delta", -3.0, "from -1 to 1"),
    ],
)
def test_what_a_task_would_refuse_is_a_problem_now(section: str, setting: str, value: object, words: str) -> None:
    (check,) = _checks(**{section: {setting: value}})
    assert (check.name, check.level) == (section, "problem")
    assert words in check.advice
    assert "\n" not in check.advice


def test_more_minimum_rows_than_rows_can_never_be_had() -> None:
    (found,) = [check for check in _checks(data={"rows": 40, "minimum_rows": 50}) if check.level == "problem"]
    assert "Raise data.rows" in found.advice


@pytest.mark.parametrize(("rows", "level"), [(140, "warning"), (150, "ok"), (0, "ok")])
def test_too_few_test_rows_for_every_label_end_in_insufficient(rows: int, level: str, place: Path) -> None:
    (place / "taxonomy.yaml").write_text("labels: [a, b, c]\n")
    levels = [check.level for check in _checks(data={"rows": rows, "taxonomy": "taxonomy.yaml"})]
    assert levels == (["ok"] if level == "ok" else ["ok", "warning"])
    given = {"rows": rows, "taxonomy": "taxonomy.yaml", "test_uri": "test.csv"}
    assert [check.level for check in _checks(data=given)] == ["ok"], "the judges lie elsewhere"


def test_a_taxonomy_that_is_broken_is_left_to_the_check_of_places() -> None:
    assert [check.level for check in _checks(data={"rows": 500, "taxonomy": "nowhere.yaml"})] == ["ok"]
