"""Runs submitted to Kubeflow through the command's own functions: a lost request starts no second run, however late."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cloud.bench.specs import small_spec
from tests.cloud.kubeflow.faults import FAULTS, Fault
from tests.cloud.kubeflow.hurried import HurriedApi
from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.runs.finding import find_run, list_runs
from tunelane_pipelines.runs.journal import Journal
from tunelane_pipelines.runs.quiet import QUIET_TIME
from tunelane_pipelines.runs.reconciling import refresh
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.submitting.sending import NeedsResume, resume_run, submit_run
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Submission
from tunelane_serving.errors import TunelaneError

_FEW: tuple[Fault, ...] = ("503", "reply-lost", "late", "denied")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubeflow]:
    """An installation without users, and a home of one's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeKubeflow() as fake:
        yield fake


@pytest.fixture
def target(fake: FakeKubeflow) -> KubeflowTarget:
    """The target of that installation."""
    settings = KubeflowSettings(host=fake.host)
    return KubeflowTarget(settings, fake.clock, HurriedApi(settings, fake))


@pytest.fixture
def submission() -> Submission:
    """A small run of a pipeline of ours."""
    return Submission("convert-1", "convert", "Convert", small_spec("build-dataset", "export-onnx"), {"n": 3})


def _runs(fake: FakeKubeflow, target: KubeflowTarget) -> list[str]:
    """The ids of what the installation has, as far as our label says so."""
    fake.faults.clear()
    return [run.run_id for run in target.runs(since=fake.clock.now() - QUIET_TIME * 100)]


@pytest.mark.parametrize("kinds", [_FEW, pytest.param(FAULTS, marks=pytest.mark.slow)], ids=["few", "all"])
def test_with_one_fault_at_any_call_there_is_one_run_at_most(
    kinds: tuple[Fault, ...], fake: FakeKubeflow, target: KubeflowTarget, submission: Submission, tmp_path: Path
) -> None:
    submit_run(submission, tmp_path / "first", target, fake.clock, command="")
    calls = len(fake.calls)
    faults = [(number, kind) for number in range(calls) for kind in kinds]
    assert len(faults) > 10
    ends: dict[str, int] = {}
    for count, (number, kind) in enumerate(faults):
        fake.reset()
        fake.calls.clear()
        fake.faults.clear()
        fake.faults[number] = kind
        root, sent = tmp_path / str(count), replace(submission, run_id=f"convert-{count}")
        try:
            submit_run(sent, root, target, fake.clock, command="")
        except NeedsResume:
            fake.clock.sleep(QUIET_TIME.total_seconds())
            # What was late is there by now.
            fake.arrive()
            resume_run(find_run(root, sent.run_id), lambda _name: target, fake.clock)
        except TunelaneError:
            assert list_runs(root) == [], (number, kind)
        fake.arrive()
        entries = list_runs(root)
        assert _runs(fake, target) == [entry.run_id for entry in entries], (number, kind)
        ends.update({entry.state: ends.get(entry.state, 0) + 1 for entry in entries})
    assert ends["pending"] > len(faults) / 2


def test_a_lost_request_is_looked_for_and_sent_again_only_when_it_cannot_arrive_any_more(
    fake: FakeKubeflow, target: KubeflowTarget, submission: Submission, tmp_path: Path
) -> None:
    # The first makes the experiment; from the second on all make the same calls.
    for earlier in ("convert-a", "convert-b"):
        fake.calls.clear()
        submit_run(replace(submission, run_id=earlier), tmp_path, target, fake.clock, command="")
    number = next(number for number, call in enumerate(fake.calls) if call.operation == "create_run")
    fake.calls.clear()
    fake.faults[number] = "dropped"
    with pytest.raises(NeedsResume):
        submit_run(submission, tmp_path, target, fake.clock, command="")
    creates = len(fake.named("create_run"))
    with pytest.raises(NeedsResume, match=r"its request may still be on its way\. Wait 10 min"):
        resume_run(find_run(tmp_path, submission.run_id), lambda _name: target, fake.clock)
    assert len(fake.named("create_run")) == creates == 1
    fake.clock.sleep(QUIET_TIME.total_seconds())
    resume_run(find_run(tmp_path, submission.run_id), lambda _name: target, fake.clock)
    assert sorted(_runs(fake, target)) == ["convert-1", "convert-a", "convert-b"]


def test_a_run_is_at_its_host_and_another_has_no_say_in_it(
    fake: FakeKubeflow, target: KubeflowTarget, submission: Submission, tmp_path: Path
) -> None:
    submit_run(submission, tmp_path, target, fake.clock, command="")
    (entry,) = list_runs(tmp_path)
    assert entry.service == target.service
    with FakeKubeflow() as other:
        elsewhere = KubeflowTarget(KubeflowSettings(host=other.host), other.clock)
        refresh(Journal(tmp_path), list_runs(tmp_path), elsewhere, other.clock, attempts=1)
    assert list_runs(tmp_path) == [entry], "not lost, as it would be if it were this one's"
