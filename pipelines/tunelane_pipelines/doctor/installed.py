"""Python, the extras of this distribution, torch, and the tools beside them."""

import importlib
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from tunelane_components.train.environment import prepare_torch_environment
from tunelane_pipelines.doctor.check import Check

MINIMUM_PYTHON = (3, 11)
# What an extra brings, by the names that are imported; both bring what reads data.
_ETL = ("datasketch", "fsspec", "gcsfs", "jinja2", "pyarrow", "yaml", "zstandard")
PACKAGES_BY_EXTRA = {
    "train": (
        "torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets", "onnx", "onnxscript",
        "sklearn", "mlflow", "kfp", *_ETL,
    ),
    "pipelines": (
        "kfp", "kfp.kubernetes", "google_cloud_pipeline_components", "google.cloud.aiplatform", "google.cloud.logging",
        "google.cloud.run_v2", "google.cloud.storage", "google.genai", "cronsim", "mlflow", "pydantic",
        "pydantic_settings", "rich", "typer", *_ETL,
    ),
}  # fmt: skip
_TOOLS = {"gcloud": "for Vertex AI and Cloud Run", "docker": "for the container images"}
_GPU = Path("/dev/nvidia0")


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Whether Python is new enough."""
    spoken = ".".join(map(str, version))
    if version[:2] < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        return Check("python", "problem", spoken, f"Install Python {wanted} or newer, and tunelane in it.")
    return Check("python", "ok", f"{spoken} at {sys.executable}")


def check_extras() -> Iterator[Check]:
    """Whether what the extras bring is there; found, and as little of it imported as can be."""
    for extra, packages in PACKAGES_BY_EXTRA.items():
        missing = [package for package in packages if not _is_there(package)]
        name = f"extra {extra}"
        if not missing:
            yield Check(name, "ok", "installed")
            continue
        advice = f"pip install 'tunelane[{extra}]'"
        if extra == "train" and "torch" in missing:
            # Whoever only submits and serves does without it.
            yield Check(name, "warning", "not installed: pipelines cannot run on this machine", advice)
        else:
            yield Check(name, "problem", f"missing: {', '.join(missing)}", advice)


def _is_there(package: str) -> bool:
    """Whether a package could be imported; of one below another only those above it are."""
    try:
        return find_spec(package) is not None
    except ImportError:  # what stands above it is not there
        return False


def check_torch() -> Check:
    """Which torch there is and what it computes on; imports it."""
    if find_spec("torch") is None:
        return Check("torch", "info", "not installed")
    prepare_torch_environment()
    try:
        torch = importlib.import_module("torch")
        version = str(torch.__version__)
        if torch.cuda.is_available():
            names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
            return Check("torch", "ok", f"{version} on {names}")
        if torch.backends.mps.is_available():
            return Check("torch", "ok", f"{version} on Apple's GPU")
    except Exception as error:  # a broken build fails in any way it likes
        reason = str(error).strip().partition("\n")[0]
        return Check("torch", "problem", f"cannot be imported: {reason}", "pip install --force-reinstall torch")
    if _GPU.exists():
        return Check("torch", "warning", f"{version} does not see this machine's GPU", "Install a CUDA build of torch.")
    return Check("torch", "ok", f"{version}, no accelerator: trains on the processor")


def check_tools() -> Iterator[Check]:
    """Programs that some commands use; a lane on this machine needs none."""
    for tool, use in _TOOLS.items():
        path = shutil.which(tool)
        yield Check(tool, "info", path or f"not found; {use}")
