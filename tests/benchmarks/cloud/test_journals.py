"""The journal that the listing is measured on."""

from collections import Counter
from pathlib import Path

from benchmarks.cloud.journals import fill_journal
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.record import ENDED, read_record


def test_the_newest_runs_are_unfinished_and_every_run_has_its_record(tmp_path: Path) -> None:
    fill_journal(tmp_path, runs=100, unfinished=7, service="vertex p/r", seed=3)
    entries = Journal(tmp_path).entries()
    assert [entry.state in ENDED for entry in entries] == [False] * 7 + [True] * 93
    assert {entry.service for entry in entries if entry.is_remote} == {"vertex p/r"}
    assert all(entry.is_remote for entry in entries[:7])
    assert Counter(entry.is_remote for entry in entries[8:])[False] == 46
    for entry in entries:
        assert read_record(Path(entry.place)).state == entry.state
    assert any(entry.decision == "promote" and entry.macro_f1 for entry in entries)


def test_one_seed_gives_one_journal(tmp_path: Path) -> None:
    for name in ("one", "two"):
        fill_journal(tmp_path / name, runs=20, unfinished=0, service="vertex p/r", seed=3)
    one, two = (Journal(tmp_path / name).entries() for name in ("one", "two"))
    assert [(entry.state, entry.model, entry.macro_f1) for entry in one] == [
        (entry.state, entry.model, entry.macro_f1) for entry in two
    ]
