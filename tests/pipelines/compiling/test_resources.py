"""The table of needs: complete, and careful with what it repeats and reuses."""

import re

import pytest

from tunelane_components.images import IMAGE_BY_COMPONENT
from tunelane_pipelines.compiling.resources import (
    GPUS,
    KUBEFLOW,
    NEEDS_BY_COMPONENT,
    TARGETS,
    VERTEX,
    Machine,
    machine_for,
)


def test_every_component_has_its_needs() -> None:
    assert set(NEEDS_BY_COMPONENT) == set(IMAGE_BY_COMPONENT)


def test_only_training_gets_a_gpu() -> None:
    assert [name for name, needs in NEEDS_BY_COMPONENT.items() if needs.gpu] == ["train_lora"]


def test_what_cannot_end_otherwise_or_meets_its_own_first_try_is_not_tried_again() -> None:
    once = {name for name, needs in NEEDS_BY_COMPONENT.items() if not needs.retries}
    assert once == {
        "export_onnx", "validate_parity", "evaluate_model", "gate_model", "report_verdict", "smoke_test",
        "confirm_champion",
    }  # fmt: skip


def test_what_reads_or_changes_the_outside_is_never_reused() -> None:
    reused = {name for name, needs in NEEDS_BY_COMPONENT.items() if needs.cacheable}
    assert reused == {"export_onnx", "validate_parity", "evaluate_model", "gate_model", "report_verdict"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("gpu", GPUS)
def test_machines_are_written_so_that_both_targets_read_them(target: str, gpu: str) -> None:
    for needs in NEEDS_BY_COMPONENT.values():
        machine = machine_for(needs, target, gpu)
        assert re.fullmatch(r"[1-9]\d*", machine.cpu)
        assert re.fullmatch(r"[1-9]\d*G", machine.memory)
        assert bool(machine.accelerator) == (needs.gpu and gpu != "none")


def test_vertex_gets_the_shape_of_the_machine_and_kubeflow_leaves_room_for_the_system() -> None:
    needs = NEEDS_BY_COMPONENT["train_lora"]
    assert machine_for(needs, VERTEX, "l4") == Machine("8", "32G", "NVIDIA_L4")
    assert machine_for(needs, VERTEX, "a100") == Machine("12", "85G", "NVIDIA_TESLA_A100")
    for gpu in ("l4", "a100"):
        on_cluster, whole = machine_for(needs, KUBEFLOW, gpu), machine_for(needs, VERTEX, gpu)
        assert on_cluster.accelerator == "nvidia.com/gpu"
        assert int(on_cluster.cpu) < int(whole.cpu)
        assert int(on_cluster.memory[:-1]) < int(whole.memory[:-1])
