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
    Training,
    check_target,
    chosen_training,
    resources_of,
)
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_serving.errors import InputError


def test_every_component_has_its_needs() -> None:
    assert set(NEEDS_BY_COMPONENT) == set(IMAGE_BY_COMPONENT)


def test_only_training_takes_what_users_choose_for_training() -> None:
    assert [name for name, needs in NEEDS_BY_COMPONENT.items() if needs.trains] == ["train_lora"]
    chosen = Training("a100", spot=True, boot_disk_gb=500, replicas=4)
    for name in NEEDS_BY_COMPONENT.keys() - {"train_lora"}:
        for target in TARGETS:
            assert resources_of(name, target, chosen) == resources_of(name, target, Training("none"))


def test_only_training_on_vertex_is_a_custom_job() -> None:
    jobs = {
        (name, target)
        for name in NEEDS_BY_COMPONENT
        for target in TARGETS
        if resources_of(name, target, Training()).custom_job_type
    }
    assert jobs == {("train_lora", VERTEX)}


def test_what_cannot_end_otherwise_or_would_hide_the_reason_is_not_tried_again() -> None:
    once = {name for name, needs in NEEDS_BY_COMPONENT.items() if not needs.retries}
    assert once == {
        "export_onnx", "validate_parity", "evaluate_model", "gate_model", "report_verdict", "smoke_test"
    }  # fmt: skip


def test_what_reads_or_changes_the_outside_is_never_reused() -> None:
    reused = {name for name, needs in NEEDS_BY_COMPONENT.items() if needs.cacheable}
    assert reused == {
        "build_dataset", "export_onnx", "validate_parity", "evaluate_model", "gate_model", "report_verdict"
    }  # fmt: skip
    assert NEEDS_BY_COMPONENT["build_dataset"].cached_by == "data_fingerprint"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("gpu", GPUS)
def test_machines_are_written_so_that_both_targets_read_them(target: str, gpu: str) -> None:
    for name, needs in NEEDS_BY_COMPONENT.items():
        machine = resources_of(name, target, Training(gpu)).machine
        assert re.fullmatch(r"[1-9]\d*", machine.cpu)
        assert re.fullmatch(r"[1-9]\d*G", machine.memory)
        assert bool(machine.accelerator) == (needs.trains and gpu != "none")
        assert machine.accelerator_count == int(bool(machine.accelerator))


def test_vertex_gets_the_machine_of_the_gpu_and_kubeflow_leaves_room_for_the_system() -> None:
    l4, a100, none = (resources_of("train_lora", VERTEX, Training(gpu)) for gpu in ("l4", "a100", "none"))
    assert (l4.custom_job_type, l4.machine) == ("g2-standard-8", Machine("8", "32G", "NVIDIA_L4", 1))
    assert (a100.custom_job_type, a100.machine) == ("a2-highgpu-1g", Machine("12", "85G", "NVIDIA_TESLA_A100", 1))
    assert (none.custom_job_type, none.machine) == ("n2-standard-8", Machine("8", "32G"))
    for gpu, whole in (("l4", l4.machine), ("a100", a100.machine)):
        on_cluster = resources_of("train_lora", KUBEFLOW, Training(gpu)).machine
        assert on_cluster.accelerator == "nvidia.com/gpu"
        assert int(on_cluster.cpu) < int(whole.cpu)
        assert int(on_cluster.memory[:-1]) < int(whole.memory[:-1])


def test_the_settings_choose_for_training() -> None:
    gcp = GcpSettings(spot=True, boot_disk_type="pd-standard", boot_disk_gb=200, training_replicas=3)
    assert chosen_training("a100", gcp) == Training(
        "a100", spot=True, boot_disk_type="pd-standard", boot_disk_gb=200, replicas=3
    )


def test_the_defaults_of_the_settings_are_those_of_the_table() -> None:
    assert chosen_training("l4", GcpSettings()) == Training()


def test_a_disk_that_the_machine_does_not_boot_from_is_refused_where_it_matters() -> None:
    slow = Training("l4", boot_disk_type="pd-standard")
    with pytest.raises(InputError, match=r"g2-standard-8 does not boot from pd-standard\. Set gcp\.boot_disk_type"):
        resources_of("train_lora", VERTEX, slow)
    assert resources_of("train_lora", KUBEFLOW, slow) == resources_of("train_lora", KUBEFLOW, Training("l4"))
    for gpu in ("a100", "none"):
        resources_of("train_lora", VERTEX, Training(gpu, boot_disk_type="pd-standard"))


def test_an_unknown_gpu_and_an_unknown_target_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"No GPU 'l40'\. Did you mean 'l4'\?"):
        chosen_training("l40", GcpSettings())
    with pytest.raises(InputError, match=r"No target 'vertx'\. Did you mean 'vertex'\?"):
        check_target("vertx")
    for target in TARGETS:
        check_target(target)
