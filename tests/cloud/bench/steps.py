"""What the polls of a pipeline job show, one after another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """What a poll shows.

    Attributes:
        state: PipelineState's without its prefix.
        tasks: PipelineTaskDetail.State's by task; other tasks stay as they are.
        errors: message by failed task.
        error: the run's own message.
    """

    state: str = "RUNNING"
    tasks: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def succeeding(*tasks: str) -> list[Step]:
    """Give the steps of a run whose tasks succeed one after another."""
    steps = [Step(tasks=dict.fromkeys(tasks, "PENDING"))]
    for task in tasks:
        steps += [Step(tasks={task: "RUNNING"}), Step(tasks={task: "SUCCEEDED"})]
    return [*steps, Step("SUCCEEDED")]


def failing(*tasks: str, failed: str, message: str) -> list[Step]:
    """Give the steps of a run that ends with the failure of one of its tasks."""
    before = tasks[: tasks.index(failed)]
    return [
        *succeeding(*before)[:-1],
        Step(tasks={failed: "RUNNING"}),
        Step(tasks={failed: "FAILED"}, errors={failed: message}),
        Step(
            "FAILED",
            tasks=dict.fromkeys(tasks[tasks.index(failed) + 1 :], "NOT_TRIGGERED"),
            error=f"The DAG failed because some tasks failed. The failed tasks are: [{failed}].",
        ),
    ]


def plain_steps(tasks: Sequence[str]) -> list[Step]:
    """Give the steps of a run whose tasks all run and succeed at once."""
    return [
        Step("RUNNING", dict.fromkeys(tasks, "RUNNING")),
        Step("SUCCEEDED", dict.fromkeys(tasks, "SUCCEEDED")),
    ]
