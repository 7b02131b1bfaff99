"""What tasks wrote, read from Cloud Logging by Google's own client."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.cloud.bench.bench import Bench
from tests.cloud.bench.steps import Step
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, ServiceAway
from tunelane_pipelines.targets.target import Submission
from tunelane_pipelines.targets.vertex.target import VertexTarget


def test_lines_come_oldest_first_with_their_tasks(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    run = target.submit(submission)
    other = target.submit(replace(submission, run_id="other"))
    began_at = bench.clock.now()
    bench.logs.write(run.run_id, "gate", "two rows", as_json=True)
    bench.clock.advance(timedelta(seconds=1))
    bench.logs.write(run.run_id, "train", "epoch 1\n", severity="ERROR")
    bench.logs.write(other.run_id, "train", "another run's")
    lines = list(target.logs(run.resource))
    assert [(line.task, line.text) for line in lines] == [("gate", "two rows"), ("train", "epoch 1")]
    assert began_at <= lines[0].time < began_at + timedelta(seconds=1) <= lines[1].time
    assert [line.text for line in target.logs(run.resource, task="train")] == ["epoch 1"]


def test_one_query_reads_more_lines_than_a_page(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    run = target.submit(submission)
    for number in range(1001):
        bench.logs.write(run.run_id, "train", str(number))
    assert [line.text for line in target.logs(run.resource)] == [str(number) for number in range(1001)]
    assert len(bench.called("ListLogEntries")) == 2


def test_what_a_launched_job_writes_is_read_while_it_runs_and_afterwards(
    bench: Bench, target: VertexTarget, launching: Submission
) -> None:
    run = target.submit(launching)
    bench.vertex.script([Step(tasks={"train": "RUNNING"})] * 9, launching.run_id)
    bench.logs.write(launching.run_id, "train", "epoch 1")
    bench.logs.write(launching.run_id, "gate", "promote")
    assert [(line.task, line.text) for line in target.logs(run.resource)] == [("train", "epoch 1"), ("gate", "promote")]
    assert [line.text for line in target.logs(run.resource, task="train")] == ["epoch 1"]
    bench.vertex.finish(launching.run_id)
    assert [line.text for line in target.logs(run.resource, task="train")] == ["epoch 1"]
    [link] = [task.log_url for task in target.get(run.resource).tasks if task.name == "train"]
    [launched] = bench.state.launched.values()
    assert launched.rpartition("/")[2] in link


def test_a_run_s_log_has_no_launched_job_of_another_run(
    bench: Bench, target: VertexTarget, launching: Submission
) -> None:
    run = target.submit(launching)
    other = target.submit(replace(launching, run_id="other"))
    bench.logs.write(other.run_id, "train", "another run's")
    assert list(target.logs(run.resource)) == []


def test_a_task_that_is_not_there_is_named_with_the_nearest(target: VertexTarget, submission: Submission) -> None:
    run = target.submit(submission)
    with pytest.raises(NoSuchResource, match=r"No task 'tran'. Did you mean 'train'\?"):
        list(target.logs(run.resource, task="tran"))


def test_a_log_that_may_not_be_read_names_the_role(bench: Bench, target: VertexTarget, submission: Submission) -> None:
    run = target.submit(submission)
    bench.faults.add("ListLogEntries", "denied")
    with pytest.raises(NotAllowed, match="missing"):
        list(target.logs(run.resource))


def test_a_log_that_breaks_off_between_pages_says_so(
    bench: Bench, target: VertexTarget, submission: Submission
) -> None:
    run = target.submit(submission)
    for number in range(1001):
        bench.logs.write(run.run_id, "train", str(number))
    bench.faults.add("ListLogEntries", "503", skip=1)
    lines = target.logs(run.resource)
    assert [next(lines).text for _ in range(1000)] == [str(number) for number in range(1000)]
    with pytest.raises(ServiceAway):
        next(lines)
