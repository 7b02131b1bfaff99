"""What torch must be told before it is imported on a CPU."""

import os


def prepare_torch_environment() -> None:
    """Let idle OpenMP threads sleep. Call before the first `import torch` of a process.

    With the default (active) policy two threads spin at every barrier; when another process holds a core, a batch that
    takes 20 ms takes 550.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
