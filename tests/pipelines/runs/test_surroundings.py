"""What a run ran with and on."""

import subprocess
import sys
import time

from tunelane_pipelines.runs.surroundings import machine, process_started_s, versions

_STARTED = """
import time
time.sleep(0.5)
from tunelane_pipelines.runs.surroundings import process_started_s
print(process_started_s(), time.time())
"""


def test_the_versions_that_decide_what_comes_out_are_there() -> None:
    found = versions()
    assert found["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert {"tunelane", "kfp", "torch", "onnxruntime"} <= found.keys()


def test_the_machine_is_named_with_the_cores_that_may_be_used() -> None:
    found = machine()
    assert set(found) == {"system", "processor", "cores"}
    assert isinstance(found["cores"], int) and found["cores"] >= 1
    assert found["system"]


def test_a_process_knows_when_it_started() -> None:
    before = time.time()
    finished = subprocess.run([sys.executable, "-c", _STARTED], capture_output=True, text=True, check=True)
    started, ended = (float(word) for word in finished.stdout.split())
    # The kernel counts in hundredths of a second.
    assert before - 0.05 <= started <= ended - 0.5
    assert process_started_s() < before
