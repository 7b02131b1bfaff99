"""What each component needs where it runs on a cluster: machine, time, tries, and whether its result may be reused.

One table, by component. It holds on both targets; a local run has none of it.

A try more is given to what talks to the outside and leaves nothing half-done behind. It is not given where it would
- repeat a failure that cannot change (export, parity, evaluation, gate: the same inputs fail the same way),
- hide the reason (smoke_test takes a failing revision away; a second try would only miss it), or
- meet its own first try (confirm_champion: once the champion was moved, the compare-and-set of a second try fails).

A result may be reused only where it is a pure function of the artifacts and parameters that go in. The others read
something that moves behind the same argument: who is champion (resolve_champion), the content of a URI (build_dataset,
import_checkpoint, and train_lora, whose base model is one), or they are done for what they change (register_candidate,
deploy, smoke_test, confirm_champion).
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Needs:
    """What one component needs.

    `timeout_s` bounds one try. `retries` come after the first try; the first after `backoff_s`, each later one after
    twice as long.
    """

    machine: Machine
    timeout_s: int
    retries: int = 0
    backoff_s: int = 60
    gpu: bool = False
    cacheable: bool = False


_SMALL = Machine("1", "4G")
_MEDIUM = Machine("4", "16G")
_LARGE = Machine("8", "32G")
_MINUTE_S = 60
_HOUR_S = 3600

NEEDS_BY_COMPONENT = {
    "build_dataset": Needs(_MEDIUM, timeout_s=2 * _HOUR_S, retries=2),
    "train_lora": Needs(_LARGE, timeout_s=24 * _HOUR_S, retries=1, gpu=True),
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
    "confirm_champion": Needs(_SMALL, timeout_s=30 * _MINUTE_S),
}

# Vertex takes the machine type that has the accelerator and this shape: g2-standard-8 and a2-highgpu-1g. On Kubernetes
# the same machines keep a part of themselves for the system, and a task that asked for all of one would never start;
# which kind of GPU a cluster's nodes have is the cluster's business.
_GPU_MACHINES = {
    VERTEX: {"l4": Machine("8", "32G", "NVIDIA_L4"), "a100": Machine("12", "85G", "NVIDIA_TESLA_A100")},
    KUBEFLOW: {"l4": Machine("6", "24G", "nvidia.com/gpu"), "a100": Machine("10", "70G", "nvidia.com/gpu")},
}


def machine_for(needs: Needs, target: str, gpu: str) -> Machine:
    """Give the machine of a component on `target`, where `gpu` is what the components that can use one are given."""
    if needs.gpu and gpu != NO_GPU:
        return _GPU_MACHINES[target][gpu]
    return needs.machine
