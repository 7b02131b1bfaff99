from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.parity.comparison import ParityComparison
from tunelane_components.parity.report import render, section
from tunelane_serving.contract import read


@pytest.fixture
def comparison() -> ParityComparison:
    return read(Path(__file__).parent / "golden" / "comparison_v1.json", ParityComparison)


def test_it_draws_every_row_and_marks_flips_by_shape(
    comparison: ParityComparison, read_page: Callable[[str], Any], check_page: Callable[[str], None]
) -> None:
    shown = read_page(section(comparison.report, comparison))
    paths = {kind: [dict(pair) for pair in _paths(shown, kind)] for kind in ("dots faint", "flips")}
    assert [path["d"].count("h0") for path in paths["dots faint"]] == [2, 3]
    assert [path["d"].count("z") for path in paths["flips"]] == [1, 0]
    assert "1 row flips" in shown.text
    assert "zwölf negative positive 0.620 → 0.450" in shown.text
    check_page(render(comparison.report, comparison))


def _paths(shown: Any, kind: str) -> list[list[tuple[str, str]]]:
    """Give the attributes of the paths of one class: their class stands right before their line."""
    return [
        [attribute, following]
        for attribute, following in zip(shown.attributes, shown.attributes[1:], strict=False)
        if attribute == ("class", kind)
    ]


def test_it_says_what_was_measured_what_was_asked_and_what_is_out_of_bounds(
    comparison: ParityComparison, read_page: Callable[[str], Any]
) -> None:
    text = read_page(section(comparison.report, comparison)).text
    assert "int8 ✗ out of bounds" in text
    assert "Labels that agree 66.67% ≥ 95.0% ✗" in text
    assert "Out of bounds: 66.7% of labels agree, 95.0% are needed" in text
    assert "fp32 ✓ within bounds" in text
    assert "Largest logit difference 6.4e-06 ≤ 0.001 ✓" in text
    assert "Largest logit difference 0.51 Largest score" in text  # int8 is held to labels and F1


def test_a_report_without_rows_shows_figures_alone(
    comparison: ParityComparison, read_page: Callable[[str], Any]
) -> None:
    shown = read_page(section(comparison.report, None))
    assert "svg" not in shown.tags
    assert "Labels that agree 66.67%" in shown.text
    assert "bounds" not in shown.text


def test_hostile_names_are_drawn(
    comparison: ParityComparison,
    hostile_names: tuple[str, ...],
    read_page: Callable[[str], Any],
    check_page: Callable[[str], None],
) -> None:
    variants = tuple(
        msgspec.structs.replace(rows, labels=hostile_names, scores=(0.0,) * 6) for rows in comparison.variants
    )
    labels = hostile_names[::-1]
    changed = msgspec.structs.replace(
        comparison, ids=hostile_names, labels=labels, scores=(1.0,) * 6, variants=variants
    )
    html = render(changed.report, changed)
    shown = read_page(html)
    assert "script" not in shown.tags
    assert all(name in shown.text for name in hostile_names)
    check_page(html)


def test_many_flips_are_counted_and_the_first_ones_listed(
    comparison: ParityComparison, read_page: Callable[[str], Any]
) -> None:
    rows = 30
    changed = msgspec.structs.replace(
        comparison,
        ids=tuple(f"row-{number:02d}" for number in range(rows)),
        labels=("positive",) * rows,
        scores=(0.6,) * rows,
        variants=tuple(
            msgspec.structs.replace(variant, labels=("negative",) * rows, scores=(0.4,) * rows)
            for variant in comparison.variants
        ),
    )
    text = read_page(section(changed.report, changed)).text
    assert "30 rows flip" in text
    assert "row-09" in text
    assert "row-10" not in text
