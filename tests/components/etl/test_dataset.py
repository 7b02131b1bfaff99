from pathlib import Path

import msgspec
import pytest

from tunelane_components.etl.dataset import DatasetSummary, read_summary
from tunelane_components.etl.split import SPLITS
from tunelane_serving.errors import ContractError

GOLDEN = Path(__file__).parent / "golden" / "dataset.v1.json"


@pytest.fixture
def summary() -> DatasetSummary:
    return msgspec.json.decode(GOLDEN.read_bytes(), type=DatasetSummary)


def test_the_golden_summary_of_version_1_loads(summary: DatasetSummary) -> None:
    assert summary.rows_read == 305
    assert summary.quarantined == {"empty_text": 2, "malformed_row": 1}
    assert sum(summary.rows_of(split) for split in SPLITS) == summary.rows_kept == 250


@pytest.mark.parametrize(
    "field", ["rows_merged", "rows_cut", "rows_leaked", "rows_near_duplicate", "rows_over_cap", "rows_kept"]
)
def test_a_summary_that_does_not_add_up_breaks_its_contract(summary: DatasetSummary, field: str) -> None:
    with pytest.raises(ValueError, match="is not the sum"):
        msgspec.structs.replace(summary, **{field: getattr(summary, field) + 1})


def test_a_summary_on_disk_that_does_not_add_up_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(GOLDEN.read_text().replace('"rows_kept": 250', '"rows_kept": 249'))
    with pytest.raises(ContractError, match=r"dataset\.json: .*rows_read"):
        read_summary(tmp_path)


def test_the_rows_of_several_labels_are_counted_once(summary: DatasetSummary) -> None:
    labels = {split: dict.fromkeys(summary.labels[split], 10_000) for split in SPLITS}
    rows = {split: summary.rows_of(split) for split in SPLITS}
    several = msgspec.structs.replace(summary, labels=labels, rows_by_split=rows)
    assert {split: several.rows_of(split) for split in SPLITS} == rows
