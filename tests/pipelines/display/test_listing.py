"""`tunelane runs list` asks nobody by itself, and loads nothing to do so."""

import subprocess
import sys
from pathlib import Path

from tests.pipelines.added import SERVICE, add_remote

_LIST = """
import sys
from tunelane_pipelines.cli.main import app

app(["runs", "list", "--root", sys.argv[1]], standalone_mode=False)
clients = ("kfp", "grpc", "google.api_core", "google.auth", "google.cloud.")
print([name for name in sys.modules if name.startswith(clients)])
"""


def test_a_list_with_runs_that_go_on_loads_no_client_and_says_how_old_it_is(tmp_path: Path) -> None:
    add_remote(tmp_path, "run", "running", "projects/1/pipelineJobs/run")
    # Whatever it asked would be refused here.
    environment = {"PATH": "", "HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", _LIST, str(tmp_path)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *_, row, loaded = done.stdout.splitlines()
    assert (row.split()[:2], loaded) == (["run", "running"], "[]")
    assert done.stderr.startswith(f"{SERVICE}: its runs are as this machine last saw them. Ask it: tunelane runs list")
