"""ONNX Runtime reports to nobody, unless somebody asks it to."""

import os
import subprocess
import sys

import pytest

_VARIABLE = "ORT_DISABLE_TELEMETRY"


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_reports_are_off_before_the_runtime_is_loaded_and_a_choice_is_left_alone(given: str | None, found: str) -> None:
    code = f"""
import os, sys
import tunelane_serving.models.classifier
assert "onnxruntime" not in sys.modules
print(os.environ[{_VARIABLE!r}])
"""
    environment = {name: value for name, value in os.environ.items() if name != _VARIABLE}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment | ({_VARIABLE: given} if given else {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.stdout.strip(), run.returncode) == (found, 0), run.stderr
