"""What a run on Vertex AI is asked for with."""

from typing import Any

import pytest

from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_pipelines.targets.target import Submission


def _executor_component(name: str) -> dict[str, Any]:
    return {"executorLabel": f"exec-{name}"}


@pytest.fixture
def spec() -> dict[str, Any]:
    """A pipeline of two tasks and a condition with a branch of one task each."""
    tasks: dict[str, Any] = {name: {"componentRef": {"name": f"comp-{name}"}} for name in ("train", "gate")}
    tasks["gate"]["dependentTasks"] = ["train"]
    tasks["train"]["cachingOptions"] = {"enableCache": True}
    branches = {name: {"componentRef": {"name": f"comp-{name}"}} for name in ("condition-2", "condition-3")}
    return {
        "pipelineInfo": {"name": "train-classifier"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "root": {
            "dag": {
                "tasks": {
                    **tasks,
                    "condition-branches-1": {
                        "componentRef": {"name": "comp-condition-branches-1"},
                        "dependentTasks": ["gate"],
                    },
                }
            },
            "inputDefinitions": {
                "parameters": {
                    "data": {"parameterType": "STRING"},
                    "epochs": {"parameterType": "NUMBER_INTEGER"},
                    "margin": {"parameterType": "NUMBER_DOUBLE"},
                }
            },
        },
        "components": {
            "comp-train": _executor_component("train"),
            "comp-gate": _executor_component("gate"),
            "comp-deploy": _executor_component("deploy"),
            "comp-report": _executor_component("report"),
            "comp-condition-branches-1": {"dag": {"tasks": branches}},
            "comp-condition-2": {
                "dag": {
                    "tasks": {
                        "deploy": {
                            "componentRef": {"name": "comp-deploy"},
                            "cachingOptions": {"enableCache": True},
                        }
                    }
                }
            },
            "comp-condition-3": {"dag": {"tasks": {"report": {"componentRef": {"name": "comp-report"}}}}},
        },
        "deploymentSpec": {"executors": {}},
    }


@pytest.fixture
def settings() -> GcpSettings:
    """The least that is needed."""
    return GcpSettings(project="tunelane-test", region="europe-west4", pipeline_root="gs://tunelane-test-ew4/runs")


@pytest.fixture
def submission(spec: dict[str, Any]) -> Submission:
    return Submission(
        run_id="train-classifier-20260101-030000-ab12",
        pipeline="train-classifier",
        display_name="Train classifier",
        spec=spec,
        parameters={"data": "gs://tunelane-test-ew4/reviews.csv", "epochs": 3, "margin": 0.5},
    )
