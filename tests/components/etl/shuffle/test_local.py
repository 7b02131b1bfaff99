import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunelane_components.etl.options import DatasetOptions, Fields
from tunelane_components.etl.shuffle.local import InProcess, WorkerProcesses
from tunelane_components.etl.shuffle.map import MapOutcome
from tunelane_components.etl.shuffle.plan import Plan
from tunelane_components.etl.shuffle.tasks import MapTask, Task
from tunelane_components.etl.sources.chunks import JsonLinesChunk, ParquetChunk
from tunelane_serving.errors import InputError, TunelaneError


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        options=DatasetOptions(
            fields=Fields(), taxonomy_given=False, rows=0, minimum_rows=0, valid_fraction=0.1, test_fraction=0.1
        ),
        taxonomy=None,
        names=("rows.jsonl",),
        given_splits=("",),
        partitions=3,
        workspace=str(tmp_path / "work"),
    )


def tasks(count: int) -> Iterator[Task]:
    for number in range(count):
        lines = b"".join(b'{"text": "text %d of %d", "label": "a"}\n' % (row, number) for row in range(50))
        yield MapTask(number, JsonLinesChunk(file=0, first_line=1, content=lines))


def pieces(root: str) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def test_worker_processes_do_what_this_process_does(plan: Plan) -> None:
    here = sorted(InProcess(plan).run(tasks(7)), key=repr)
    left_here = pieces(plan.workspace)
    for path in Path(plan.workspace).rglob("*.bin"):
        path.unlink()
    with WorkerProcesses(plan, 2) as workers:
        there = sorted(workers.run(tasks(7)), key=repr)
    assert there == here
    assert pieces(plan.workspace) == left_here


def test_workers_serve_one_run_after_another(plan: Plan) -> None:
    with WorkerProcesses(plan, 2) as workers:
        for _ in range(3):
            outcomes = list(workers.run(tasks(5)))
            assert sorted(outcome.number for outcome in outcomes if isinstance(outcome, MapOutcome)) == list(range(5))
        assert list(workers.run(())) == []


def test_few_tasks_are_held_at_a_time(plan: Plan) -> None:
    made = 0

    def counted() -> Iterator[Task]:
        nonlocal made
        for task in tasks(30):
            made += 1
            yield task

    with WorkerProcesses(plan, 2) as workers:
        done = 0
        for _ in workers.run(counted()):
            done += 1
            assert made - done <= 2 * 2 + 1
    assert done == 30


def test_a_mistake_that_a_worker_finds_is_the_users_all_the_same(plan: Plan, tmp_path: Path) -> None:
    missing = MapTask(1, ParquetChunk(file=0, uri=str(tmp_path / "gone.parquet"), row_group=0, first_row=1))
    with WorkerProcesses(plan, 2) as workers, pytest.raises(InputError) as caught:
        list(workers.run([*tasks(2), missing, *tasks(2)]))
    assert "\n" not in str(caught.value)


def test_a_place_that_a_worker_cannot_write_is_one_line_that_says_what_to_check(plan: Plan) -> None:
    Path(plan.workspace).write_text("not a directory")
    with WorkerProcesses(plan, 2) as workers, pytest.raises(InputError) as caught:
        list(workers.run(tasks(2)))
    assert str(caught.value).startswith(f"Cannot read or write {plan.workspace}")
    assert str(caught.value).endswith("Check who may use it, and that the disk has room.")


def test_a_worker_that_dies_ends_the_run_with_its_exit_code(plan: Plan) -> None:
    with WorkerProcesses(plan, 2) as workers:
        list(workers.run(tasks(4)))
        for worker in workers._workers:
            os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(TunelaneError, match=r"^A worker process ended with exit code -9 \(out of memory\?\)\."):
            list(workers.run(tasks(4)))


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from tunelane_components.etl.shuffle.local import WorkerProcesses
import msgspec
from tunelane_components.etl.shuffle.plan import Plan
plan = msgspec.msgpack.decode(bytes.fromhex(sys.argv[1]), type=Plan)
workers = WorkerProcesses(plan, 2)
print(*[worker.pid for worker in workers._workers], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    import msgspec

    options = DatasetOptions(
        fields=Fields(), taxonomy_given=False, rows=0, minimum_rows=0, valid_fraction=0.1, test_fraction=0.1
    )
    plan = Plan(options, None, ("x",), ("",), 1, str(tmp_path))
    process = subprocess.run(
        [sys.executable, "-c", script, msgspec.msgpack.encode(plan).hex()], capture_output=True, text=True, check=False
    )
    assert process.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in process.stdout.split()]
    assert len(pids) == 2
    deadline = 200
    while deadline and any(
        Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids
    ):
        signal.sigtimedwait([], 0.05)
        deadline -= 1
    assert deadline
