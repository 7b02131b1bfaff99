import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.etl.renderers import gemini_limits
from tunelane_components.etl.renderers.gemini_limits import LIMITS, Violation, check_limits, estimated_tokens
from tunelane_serving.errors import InputError


def example(text: str = "What a day!", *uris: str, mime_type: str = "image/png") -> dict[str, Any]:
    files = [{"fileData": {"mimeType": mime_type, "fileUri": uri}} for uri in uris]
    return {
        "systemInstruction": {"role": "system", "parts": [{"text": "Pick."}]},
        "contents": [
            {"role": "user", "parts": [*files, {"text": text}]},
            {"role": "model", "parts": [{"text": "joy"}]},
        ],
    }


def violations(folder: Path, train: list[dict[str, Any]], valid: list[dict[str, Any]] | None = None) -> list[Violation]:
    """Write a dataset of at least a hundred training examples and check it."""
    filled = [*train, *[example()] * (LIMITS.recommended_training_examples - len(train))]
    for name, rows in (("train", filled), ("valid", valid or [example()])):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    return check_limits(folder)


@pytest.fixture
def lower(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lower some limits, so that few rows break them."""

    def set_lower(**limits: int) -> None:
        monkeypatch.setattr(gemini_limits, "LIMITS", msgspec.structs.replace(LIMITS, **limits))

    return set_lower


def test_a_dataset_within_the_limits_breaks_none(tmp_path: Path) -> None:
    assert violations(tmp_path, [example("A photo.", "gs://b/a.png", "https://x.example/b.png")]) == []


def test_the_documented_limits_are_these() -> None:
    assert (LIMITS.max_tokens, LIMITS.max_training_bytes, LIMITS.max_images) == (131_072, 10**9, 30)
    assert (LIMITS.max_training_examples, LIMITS.max_training_examples_with_images) == (10_000_000, 300_000)
    assert (LIMITS.max_validation_examples, LIMITS.validation_share) == (5_000, 0.3)


@pytest.mark.parametrize(
    ("limit", "count"),
    [("max_training_examples", 100), ("max_training_examples_with_images", 60), ("max_training_bytes", None)],
)
def test_too_large_a_training_split_is_an_error(tmp_path: Path, lower: Any, limit: str, count: int | None) -> None:
    lower(**{limit: 59})
    [violation] = violations(tmp_path, [example("A photo.", "gs://b/a.png")] * 60)
    assert (violation.limit, violation.split, violation.severity, violation.lines) == (limit, "train", "error", ())
    assert violation.count == (count or (tmp_path / "train.jsonl").stat().st_size)
    assert violation.message.startswith(f"train: {violation.count:,} ")
    assert "59 are allowed; take fewer with --set rows=N." in violation.message


def test_few_training_examples_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(example()) + "\n")
    [violation] = check_limits(tmp_path)
    assert (violation.limit, violation.severity, violation.count) == ("recommended_training_examples", "warning", 1)
    assert violation.message == "train: 1 examples, 100 are recommended; add rows."


@pytest.mark.parametrize(
    ("valid", "limit"),
    [(1_000, None), (1_001, "validation_share"), (5_000, "validation_share"), (5_001, "max_validation_examples")],
)
def test_the_validation_split_is_bounded_alone_and_by_the_training_split(
    tmp_path: Path, valid: int, limit: str | None
) -> None:
    found = violations(tmp_path, [], [example()] * valid)
    assert [(violation.limit, violation.severity, violation.count) for violation in found] == (
        [(limit, "error", valid)] if limit else []
    )


def test_a_third_of_a_large_training_split_may_validate(tmp_path: Path) -> None:
    assert violations(tmp_path, [example()] * 3_500, [example()] * 1_050) == []
    [violation] = violations(tmp_path, [example()] * 3_500, [example()] * 1_051)
    assert violation.message == (
        "valid: 1,051 examples, more than 30 % of the 3,500 training examples, and over 1,000; lower valid_fraction."
    )


def test_rows_that_the_service_leaves_out_are_named_by_line(tmp_path: Path) -> None:
    long = "word " * 140_000
    rows = [example(), example(long), example(), example(long)]
    [violation] = violations(tmp_path, rows)
    assert violation == Violation(
        "max_tokens",
        "train",
        "warning",
        (2, 4),
        2,
        "train: 2 rows estimated at over 131,072 tokens, which the service leaves out: line 2, 4. "
        "Shorten the texts, or pass --set max_characters=N.",
    )


def test_only_the_first_ten_lines_are_named(tmp_path: Path) -> None:
    [violation] = violations(tmp_path, [example("A photo.", "photos/a.png")] * 12)
    assert (violation.limit, violation.count, violation.lines) == ("image_uri", 12, tuple(range(1, 11)))
    assert "line 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …. Name them by gs:// URIs." in violation.message


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        (example("Photos.", *["gs://b/a.png"] * 31), "max_images"),
        (example("A photo.", "gs://b/a.gif", mime_type="image/gif"), "image_type"),
        (example("A photo.", "file:///a.png"), "image_uri"),
        # 30 images of 1,120 tokens leave 97,472 for texts.
        (example("é" * 98_000, *["gs://b/a.png"] * 30), "max_tokens"),
    ],
)
def test_images_are_counted_and_looked_at_in_both_splits(tmp_path: Path, row: dict[str, Any], limit: str) -> None:
    found = violations(tmp_path, [row], [row])
    assert [(violation.limit, violation.split, violation.lines) for violation in found] == [
        (limit, "train", (1,)),
        (limit, "valid", (1,)),
    ]


def test_tokens_are_estimated_on_the_high_side() -> None:
    assert estimated_tokens("") == 0
    assert estimated_tokens("The parcel came late.") == 8  # the | par cel | cam e | lat e | .
    assert estimated_tokens("2026") == 4
    assert estimated_tokens("荷物が来た") == 5
    # A text just below the limit in bytes cannot have more tokens than the limit.
    assert estimated_tokens("a" * 3 * 131_072) == 131_072


def test_a_file_that_is_not_there_or_not_geminis_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read .*train\.jsonl: No such file .*--set formats=gemini"):
        check_limits(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"contents": [{"parts": "x", "a": {"fileData": 1}}]}\n')
    with pytest.raises(InputError, match=r"train\.jsonl:1: field contents\[0\]\.parts: .* Run `tunelane data validate"):
        check_limits(tmp_path)
