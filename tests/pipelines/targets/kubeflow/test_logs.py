"""What the tasks wrote, by the server's own route, and the command that reads it where that is not to be had."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cloud.kubeflow.installation import FakeKubeflow
from tests.cloud.kubeflow.runs import fnv
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, Refused, ServiceAway
from tunelane_pipelines.targets.kubeflow.logs import _hash
from tunelane_pipelines.targets.kubeflow.target import KubeflowTarget
from tunelane_pipelines.targets.target import Submission

_TOKEN = "open-sesame"  # noqa: S105 - the fake's


@pytest.fixture
def resource(fake: FakeKubeflow, target: KubeflowTarget, convert: Submission) -> str:
    """A run whose first task has ended and whose second one, in a branch, goes on."""
    resource = target.submit(convert).resource
    fake.start(resource)
    fake.task(resource, "build-dataset", "SUCCEEDED")
    fake.clock.advance(timedelta(minutes=3))
    fake.task(resource, "export-onnx", "RUNNING")
    return resource


def _lines(target: KubeflowTarget, resource: str, task: str = "") -> list[tuple[str, str]]:
    return [(line.task, line.text) for line in target.logs(resource, task=task)]


def test_lines_come_in_the_order_of_the_tasks_with_the_time_of_their_start(
    fake: FakeKubeflow, target: KubeflowTarget, resource: str
) -> None:
    fake.workflows.write(resource, "condition-1.export-onnx", "exporting\n")
    fake.workflows.write(resource, "build-dataset", "100 rows\n97 of them kept\n")
    lines = list(target.logs(resource))
    assert [(line.task, line.text) for line in lines] == [
        ("build-dataset", "100 rows"),
        ("build-dataset", "97 of them kept"),
        ("export-onnx", "exporting"),
    ]
    started = {task.name: task.started_at for task in target.get(resource).tasks}
    assert [line.time for line in lines] == [started[line.task] for line in lines]
    assert _lines(target, resource, "export-onnx") == [("export-onnx", "exporting")]


def test_the_route_of_later_releases_is_found(fake: FakeKubeflow, target: KubeflowTarget, resource: str) -> None:
    fake.workflows.write(resource, "build-dataset", "reading")
    fake.log_version = "v2beta1"
    assert _lines(target, resource, "build-dataset") == [("build-dataset", "reading")]


def test_every_try_of_a_task_is_read(fake: FakeKubeflow, target: KubeflowTarget, resource: str) -> None:
    fake.workflows.write(resource, "build-dataset", "reading", tries=3)
    texts = [text for _, text in _lines(target, resource, "build-dataset")]
    assert texts == ["try 0", "reading", "try 1", "reading", "try 2", "reading"]


def test_a_pod_may_be_called_like_its_node(fake: FakeKubeflow, target: KubeflowTarget, resource: str) -> None:
    fake.workflows.write(resource, "build-dataset", "reading", is_old_name=True)
    assert _lines(target, resource, "build-dataset") == [("build-dataset", "reading")]


def test_a_pod_that_the_service_names_is_asked_for(fake: FakeKubeflow, target: KubeflowTarget, resource: str) -> None:
    detail = next(
        one for one in fake.runs[resource]["run_details"]["task_details"] if one["display_name"] == "build-dataset"
    )
    detail["pod_name"] = "any-pod"
    fake.workflows.logs[resource, "any-pod"] = "here"
    assert _lines(target, resource, "build-dataset") == [("build-dataset", "here")]


def test_a_log_that_is_gone_is_said_to_be_beside_those_that_are_there(
    fake: FakeKubeflow, target: KubeflowTarget, resource: str
) -> None:
    fake.workflows.write(resource, "build-dataset", None)
    fake.workflows.write(resource, "condition-1.export-onnx", "exporting")
    (_, gone), (_, there) = _lines(target, resource)
    assert f"kubectl logs --namespace kubeflow --selector pipeline/runid={resource} " in gone
    assert there == "exporting"
    with pytest.raises(Refused, match=f"no log of these tasks.*kubectl logs .*pipeline/runid={resource} "):
        target.logs(resource, task="build-dataset")


def test_earlier_releases_say_that_a_log_is_gone_where_the_log_would_be(
    fake: FakeKubeflow, target: KubeflowTarget, resource: str
) -> None:
    fake.gone_log_status = 200
    fake.workflows.write(resource, "build-dataset", "reading", is_old_name=True)
    assert _lines(target, resource, "build-dataset") == [("build-dataset", "reading")]


def test_without_the_route_the_command_is_named(resource: str, fake: FakeKubeflow, target: KubeflowTarget) -> None:
    fake.workflows.write(resource, "build-dataset", "reading")
    fake.log_version = ""
    with pytest.raises(Refused, match=f"does not serve logs.*kubectl logs .*pipeline/runid={resource} "):
        target.logs(resource)


def test_a_run_that_has_not_begun_wrote_nothing(target: KubeflowTarget, convert: Submission) -> None:
    assert _lines(target, target.submit(convert).resource) == []


def test_a_task_or_a_run_that_is_not_there_is_named(target: KubeflowTarget, resource: str) -> None:
    with pytest.raises(NoSuchResource, match=r"build-datasets.*build-dataset"):
        target.logs(resource, task="build-datasets")
    with pytest.raises(NoSuchResource):
        target.logs("no-such-run")


def test_the_route_wants_the_same_token_and_the_right_to_read(
    open_target: Callable[..., KubeflowTarget], convert: Submission
) -> None:
    with FakeKubeflow(token=_TOKEN, namespaces=("language",)) as fake:
        target = open_target(fake, token=_TOKEN, namespace="language")
        resource = target.submit(convert).resource
        fake.task(resource, "build-dataset", "SUCCEEDED")
        fake.workflows.write(resource, "build-dataset", "reading")
        assert _lines(target, resource) == [("build-dataset", "reading")]
        fake.calls.clear()
        fake.faults = {1: "denied"}
        with pytest.raises(NotAllowed, match="No right to read the log in namespace language"):
            target.logs(resource)


def test_a_connection_that_breaks_is_no_missing_log(fake: FakeKubeflow, target: KubeflowTarget, resource: str) -> None:
    fake.workflows.write(resource, "build-dataset", "reading")
    for fault in ("dropped", "503", "500"):
        fake.calls.clear()
        fake.faults = {1: fault}  # type: ignore[dict-item]
        with pytest.raises(ServiceAway):
            target.logs(resource)


def test_a_log_of_any_bytes_can_be_read(fake: FakeKubeflow, target: KubeflowTarget, resource: str) -> None:
    fake.workflows.write(resource, "build-dataset", '{"loss": 0.4}\n✓ ende\n')
    assert [text for _, text in _lines(target, resource, "build-dataset")] == ['{"loss": 0.4}', "✓ ende"]


@pytest.mark.parametrize(
    ("node", "suffix"),
    [
        # Pods of real workflows; the second stands in https://github.com/kubeflow/pipelines/issues/10036.
        ("general-cpu-rnggt.root.workspace-name.executor(0)", 1467617326),
        ("tutorial-control-flows-gbjpn.root.print-op.executor", 1647980155),
        ("", 2166136261),
    ],
)
def test_the_hash_is_that_of_real_pods(node: str, suffix: int) -> None:
    assert _hash(node) == suffix


@given(st.text())
def test_the_hash_is_a_whole_number_of_32_bits(text: str) -> None:
    assert _hash(text) == fnv(text) < 2**32
