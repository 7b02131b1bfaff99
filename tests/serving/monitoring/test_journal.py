import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunelane_serving.events import InferenceEvent
from tunelane_serving.monitoring import journal as journal_module
from tunelane_serving.monitoring.journal import Journal

EventFactory = Callable[..., InferenceEvent]
PLENTY_BYTES = 1 << 20


def drained(journal: Journal, limit: int = 2) -> list[str]:
    ids = []
    while batch := journal.first(limit):
        ids += [event.id for event in batch]
        journal.remove_first()
    return ids


def test_events_come_back_as_they_were_and_in_order(tmp_path: Path, make_event: EventFactory) -> None:
    events = [
        make_event(id=str(number), input="zwei\nZeilen \x00 😀", prediction=("joy",), scores=(0.25, 0.75))
        for number in range(5)
    ]
    journal = Journal(tmp_path / "journal", max_bytes=PLENTY_BYTES)
    assert journal.append(events[:3]) == 3
    assert journal.append(events[3:]) == 2
    assert len(journal) == 5
    assert journal.first(10) == events
    assert drained(journal) == ["0", "1", "2", "3", "4"]
    assert (len(journal), journal.unreadable) == (0, 0)


def test_what_is_not_removed_comes_again(tmp_path: Path, make_event: EventFactory) -> None:
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    journal.append([make_event(id="1"), make_event(id="2")])
    assert journal.first(1) == journal.first(1)
    assert len(journal) == 2


def test_a_file_goes_once_its_events_have(tmp_path: Path, make_event: EventFactory) -> None:
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    journal.append([make_event()])
    assert len(list(tmp_path.iterdir())) == 1
    drained(journal)
    assert list(tmp_path.iterdir()) == []


def test_a_long_journal_is_many_files_that_go_one_by_one(
    tmp_path: Path, make_event: EventFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_FILE_BYTES", 600)
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    for number in range(10):
        journal.append([make_event(id=str(number))])
    files = len(list(tmp_path.iterdir()))
    assert files > 2
    journal.first(4)
    journal.remove_first()
    assert len(list(tmp_path.iterdir())) == files - 1
    assert drained(journal)[-1] == "9"
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_adopted_before_its_own_the_oldest_first(
    tmp_path: Path, make_event: EventFactory
) -> None:
    for number in range(3):
        dead = Journal(tmp_path, max_bytes=PLENTY_BYTES)
        dead.append([make_event(id=f"left-{number}")])
        dead.close()
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    journal.append([make_event(id="own")])
    journal.adopt()
    assert len(journal) == 4
    assert drained(journal) == ["left-0", "left-1", "left-2", "own"]


def test_a_living_process_keeps_its_own(tmp_path: Path, make_event: EventFactory) -> None:
    living = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    living.append([make_event(id="1")])
    other = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    other.adopt()
    assert len(other) == 0
    assert drained(living) == ["1"]


def test_two_that_adopt_at_once_never_share(tmp_path: Path, make_event: EventFactory) -> None:
    for number in range(4):
        dead = Journal(tmp_path, max_bytes=PLENTY_BYTES)
        dead.append([make_event(id=str(number))])
        dead.close()
    one, other = (Journal(tmp_path, max_bytes=PLENTY_BYTES) for _ in range(2))
    one.adopt()
    other.adopt()
    assert sorted(drained(one) + drained(other)) == ["0", "1", "2", "3"]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_has_nothing_to_adopt(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "none", max_bytes=PLENTY_BYTES)
    journal.adopt()
    assert journal.first(1) == []


def test_an_empty_file_of_a_dead_process_goes(tmp_path: Path) -> None:
    (tmp_path / "00000000000000000001-1.events.jsonl").touch()
    Journal(tmp_path, max_bytes=PLENTY_BYTES).adopt()
    assert list(tmp_path.iterdir()) == []


def test_a_torn_last_line_is_skipped_wherever_it_is_torn(tmp_path: Path, make_event: EventFactory) -> None:
    dead = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    dead.append([make_event(id="whole"), make_event(id="torn")])
    dead.close()
    content = next(tmp_path.iterdir()).read_bytes()
    first_line = content.index(b"\n") + 1
    for size in range(first_line, len(content) + 1):
        next(tmp_path.iterdir(), tmp_path / "1-1.events.jsonl").write_bytes(content[:size])
        journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
        journal.adopt()
        # Only the line break may be missing without harm.
        expected = ["whole", "torn"] if size >= len(content) - 1 else ["whole"]
        assert drained(journal) == expected
        assert journal.unreadable == (first_line < size < len(content) - 1)
        assert len(journal) == 0


def test_no_event_is_written_behind_anothers_torn_line(tmp_path: Path, make_event: EventFactory) -> None:
    (tmp_path / "1-1.events.jsonl").write_bytes(b'{"id": "to')
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    journal.adopt()
    journal.append([make_event(id="own")])
    assert drained(journal) == ["own"]
    assert journal.unreadable == 1


def test_many_unreadable_lines_do_not_stop_the_reading(tmp_path: Path, make_event: EventFactory) -> None:
    dead = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    dead.append([make_event(id="1")])
    dead.close()
    file = next(tmp_path.iterdir())
    file.write_bytes(b"no event\n" * 7 + b"\xff\n" + file.read_bytes())
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    journal.adopt()
    assert drained(journal) == ["1"]
    assert journal.unreadable == 8


def test_a_file_that_somebody_cut_off_ends_the_reading(tmp_path: Path, make_event: EventFactory) -> None:
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    journal.append([make_event()])
    os.truncate(next(tmp_path.iterdir()), 0)
    assert journal.first(1) == []
    assert len(journal) == 0


def test_a_full_journal_takes_the_first_that_fit(tmp_path: Path, make_event: EventFactory) -> None:
    journal = Journal(tmp_path, max_bytes=600)
    events = [make_event(id=str(number)) for number in range(10)]
    fitted = journal.append(events)
    assert 0 < fitted < 10
    assert journal.append(events[fitted:]) == 0
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 600
    assert drained(journal) == [str(number) for number in range(fitted)]
    assert journal.append(events[fitted:]) > 0


def test_a_full_disk_leaves_no_torn_line_behind(
    tmp_path: Path, make_event: EventFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, max_bytes=PLENTY_BYTES)
    journal.append([make_event(id="before")])
    write = os.write

    def write_half(handle: int, content: bytes) -> int:
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        return write(handle, content[: len(content) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space left"):
        journal.append([make_event(id="lost"), make_event(id="lost too")])
    monkeypatch.undo()
    assert len(journal) == 1
    journal.append([make_event(id="after")])
    assert drained(journal) == ["before", "after"]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 5)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.just("peek"), st.integers(1, 4)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(operations=OPERATIONS)
def test_whatever_happens_it_is_a_list_first_in_first_out(
    tmp_path_factory: pytest.TempPathFactory, make_event: EventFactory, operations: list[tuple[str, int]]
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal = Journal(directory, max_bytes=PLENTY_BYTES)
    expected: list[str] = []
    made = 0
    for operation, size in operations:
        if operation == "append":
            ids = [str(made + number) for number in range(size)]
            made += size
            assert journal.append([make_event(id=id_) for id_ in ids]) == size
            expected += ids
        elif operation == "restart":
            journal.close()
            journal = Journal(directory, max_bytes=PLENTY_BYTES)
            journal.adopt()
            # What was taken from a file that is not through comes again: the events' ids make up for that.
            again = drained(journal, 3)
            assert again[len(again) - len(expected) :] == expected
            journal.append([make_event(id=id_) for id_ in expected])
        else:
            batch = [event.id for event in journal.first(size)]
            # A batch may end with its file.
            assert batch == expected[: len(batch)]
            assert bool(batch) == bool(expected)
            if operation == "take" and batch:
                journal.remove_first()
                expected = expected[len(batch) :]
        assert len(journal) == len(expected)
    assert drained(journal) == expected
    assert journal.unreadable == 0
    journal.close()
