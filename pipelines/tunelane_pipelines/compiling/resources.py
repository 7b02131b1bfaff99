"""What each component needs where it runs on a cluster: machine, time, tries, and whether its result may be reused.

One table, by component. It holds on both targets; a local run has none of it. What users choose of it (GPU, spot
machines, disk, replicas) is `Training`; `resources_of` puts the two together.

A try more is given to what talks to the outside and leaves nothing half-done behind. It is not given where it would
- repeat a failure that cannot change (export, parity, evaluation, gate: the same inputs fail the same way), or
- hide the reason (smoke_test takes a failing revision away; a second try would only miss it).

A result may be reused only where it is a pure function of the artifacts and parameters that go in. The others read
something that moves behind the same argument: who is champion (resolve_champion), the content of a URI
(fingerprint_data, import_checkpoint, and train_lora, whose base model is one), or they are done for what they change
(register_candidate, deploy, smoke_test, confirm_champion). build_dataset reads URIs, too; it is a function of what goes
in where a fingerprint of their content does.
"""

from dataclasses import dataclass

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.settings.sections import GcpSettings
from tunelane_serving.errors import InputError

KUBEFLOW = "kubeflow"
VERTEX = "vertex"
TARGETS = (KUBEFLOW, VERTEX)

NO_GPU = "none"
GPUS = ("l4", "a100", NO_GPU)


@dataclass(frozen=True)
class Machine:
    """CPU cores and memory as Kubernetes quantities, and an accelerator in the words of the target; empty: none."""

    cpu: str
    memory: str
    accelerator: str = ""
    accelerator_count: int = 0


@dataclass(frozen=True)
class Needs:
    """What one component needs.

    `timeout_s` bounds one try. `retries` come after the first try; the first after `backoff_s`, each later one after
    twice as long. A result is reused where `cacheable`, and only in tasks that are given the input `cached_by`, where
    one is named: it stands for what moves behind the other inputs. What `trains` takes what
    `Training` says, and is a CustomJob on Vertex AI.
    """

    machine: Machine
    timeout_s: int
    retries: int = 0
    backoff_s: int = 60
    trains: bool = False
    cacheable: bool = False
    cached_by: str = ""


@dataclass(frozen=True)
class Training:
    """What users choose for training: one of `GPUS`; and on Vertex AI spot machines, boot disk and replicas."""

    gpu: str = "l4"
    spot: bool = False
    boot_disk_type: str = "pd-ssd"
    boot_disk_gb: int = 100
    replicas: int = 1


@dataclass(frozen=True)
class Resources:
    """What one component gets on one target.

    `custom_job_type` is the type of machine of the Vertex AI CustomJob that it runs as; empty: it is a plain task,
    whose machine Vertex finds by CPU and memory (https://cloud.google.com/vertex-ai/docs/pipelines/machine-types).
    """

    needs: Needs
    machine: Machine
    custom_job_type: str = ""


_SMALL = Machine("1", "4G")
_MEDIUM = Machine("4", "16G")
_LARGE = Machine("8", "32G")
_MINUTE_S = 60
_HOUR_S = 3600

NEEDS_BY_COMPONENT = {
    "fingerprint_data": Needs(_SMALL, timeout_s=_HOUR_S, retries=2),
    "build_dataset": Needs(_MEDIUM, timeout_s=2 * _HOUR_S, retries=2, cacheable=True, cached_by="data_fingerprint"),
    "train_lora": Needs(_LARGE, timeout_s=24 * _HOUR_S, retries=1, trains=True),
    "import_checkpoint": Needs(_MEDIUM, timeout_s=_HOUR_S, retries=2),
    "export_onnx": Needs(_MEDIUM, timeout_s=_HOUR_S, cacheable=True),
    "validate_parity": Needs(_MEDIUM, timeout_s=_HOUR_S, cacheable=True),
    "evaluate_model": Needs(_MEDIUM, timeout_s=4 * _HOUR_S, cacheable=True),
    "gate_model": Needs(_SMALL, timeout_s=30 * _MINUTE_S, cacheable=True),
    "report_verdict": Needs(_SMALL, timeout_s=10 * _MINUTE_S, cacheable=True),
    "resolve_champion": Needs(_SMALL, timeout_s=30 * _MINUTE_S, retries=2),
    "register_candidate": Needs(_SMALL, timeout_s=30 * _MINUTE_S, retries=2),
    "deploy": Needs(_SMALL, timeout_s=30 * _MINUTE_S, retries=2),
    "smoke_test": Needs(_SMALL, timeout_s=30 * _MINUTE_S),
    "confirm_champion": Needs(_SMALL, timeout_s=30 * _MINUTE_S, retries=1),
}

# On Vertex the GPU decides the type of the machine, and the type its CPU and memory:
# https://cloud.google.com/vertex-ai/docs/training/configure-compute. On Kubernetes the same machines keep a part of
# themselves for the system, and a task that asked for all of one would never start; which kind of GPU a cluster's nodes
# have is the cluster's business.
_VERTEX_TYPES = {"l4": "g2-standard-8", "a100": "a2-highgpu-1g", NO_GPU: "n2-standard-8"}
_TRAINING_MACHINES = {
    VERTEX: {
        "l4": Machine("8", "32G", "NVIDIA_L4", 1),
        "a100": Machine("12", "85G", "NVIDIA_TESLA_A100", 1),
        NO_GPU: _LARGE,
    },
    KUBEFLOW: {
        "l4": Machine("6", "24G", "nvidia.com/gpu", 1),
        "a100": Machine("10", "70G", "nvidia.com/gpu", 1),
        NO_GPU: _LARGE,
    },
}


def check_target(target: str) -> None:
    """Refuse a target that is none of `TARGETS`.

    Raises:
        InputError: names the nearest.
    """
    if target not in TARGETS:
        raise InputError(no_such("target", target, TARGETS))


def chosen_training(gpu: str, gcp: GcpSettings) -> Training:
    """Give what the settings choose for training.

    Raises:
        InputError: `gpu` is none of `GPUS`; names the nearest.
    """
    if gpu not in GPUS:
        raise InputError(no_such("GPU", gpu, GPUS))
    return Training(gpu, gcp.spot, gcp.boot_disk_type, gcp.boot_disk_gb, gcp.training_replicas)


def resources_of(component: str, target: str, training: Training) -> Resources:
    """Give what a component gets on `target`, where users chose `training`.

    Raises:
        InputError: the machine of the GPU does not boot from the disk.
    """
    needs = NEEDS_BY_COMPONENT[component]
    if not needs.trains:
        return Resources(needs, needs.machine)
    machine = _TRAINING_MACHINES[target][training.gpu]
    if target != VERTEX:
        return Resources(needs, machine)
    machine_type = _VERTEX_TYPES[training.gpu]
    if machine_type.startswith("g2-") and training.boot_disk_type != "pd-ssd":
        # https://cloud.google.com/compute/docs/accelerator-optimized-machines
        raise InputError(
            f"{machine_type} does not boot from {training.boot_disk_type}. Set gcp.boot_disk_type to pd-ssd."
        )
    return Resources(needs, machine, machine_type)
