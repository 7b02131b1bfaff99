"""What holds for every build, whatever the rows and the options."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import read_split, read_summary, read_taxonomy
from tunelane_components.etl.record import text_digest
from tunelane_components.etl.rows.candidates import QuarantinedRow
from tunelane_components.etl.split import SPLITS
from tunelane_serving.contract import read_lines
from tunelane_serving.errors import InputError

TEXTS = st.sampled_from(["Rain all day", "rain  all day ", "RAIN ALL DAY!", "Sun at last", "sun at last, at last", ""])
CELLS = st.one_of(TEXTS, st.text(max_size=12), st.none(), st.integers())
ROWS = st.lists(
    st.fixed_dictionaries(
        {"text": CELLS, "label": st.sampled_from(["a", "b", "c", "", None, ["a", "b"], ["a"]])},
        optional={"id": st.sampled_from(["1", "2", 3, None]), "part": st.sampled_from(["train", "test", "", "dev"])},
    ),
    min_size=1,
    max_size=25,
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "rows": st.integers(0, 8),
        "max_per_label": st.integers(0, 4),
        "min_per_label": st.integers(0, 3),
        "multi_label": st.booleans(),
        "split_field": st.sampled_from(["", "part"]),
        "id_field": st.sampled_from(["", "id"]),
        "near_duplicate_threshold": st.sampled_from([0.0, 0.6]),
        "mask_personal_data": st.booleans(),
        "max_characters": st.integers(0, 10),
    },
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS, OPTIONS)
def test_every_row_is_somewhere_and_no_text_is_in_two_places(
    rows: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "rows.jsonl", Path(folder) / "out"
        # Every column stands in some row, so that only rows are at fault.
        named = {"text": "first", "label": "a", "id": "0", "part": "train"}
        data.write_text("".join(f"{json.dumps(row)}\n" for row in [named, *rows]))
        try:
            summary = build_dataset(str(data), out, minimum_rows=0, max_rejected_fraction=1.0, **options).summary
        except InputError as error:
            assert "\n" not in str(error)
            assert not out.exists()
            return
        assert summary == read_summary(out)
        records = {split: read_split(out, split) for split in SPLITS}
        assert {split: len(records[split]) for split in SPLITS} == {split: summary.rows_of(split) for split in SPLITS}
        every = [record for split in SPLITS for record in records[split]]
        digests = [text_digest(record.text) for record in every]
        assert len(set(digests)) == len(digests)
        assert len({record.id for record in every}) == len(every)
        for split in SPLITS:
            of_split = [text_digest(record.text) for record in records[split]]
            assert of_split == sorted(of_split)
        names = set(read_taxonomy(out).names)
        assert all(names.issuperset(record.labels) for record in every)
        quarantined = list(read_lines(out / "quarantine.jsonl", QuarantinedRow))
        assert len(quarantined) == summary.rows_quarantined
        assert len({row.line for row in quarantined}) == len(quarantined)
        # The summary checks its own sum when it is made.
        assert summary.rows_read == 1 + len(rows)
