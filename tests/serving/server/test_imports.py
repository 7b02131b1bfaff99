import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# Serves in the main thread, as the command does; another thread asks, lists what was imported, and ends the server.
_DRIVER = """
import json, os, signal, sys, threading, time, urllib.request
from pathlib import Path
before = set(sys.modules)
package, port = sys.argv[1:]

def ask(path, body=None):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body) as response:
        return response.read()

def use():
    for _ in range(200):
        try:
            ask("/health")
            break
        except OSError:
            time.sleep(0.05)
    answer = json.loads(ask("/predict", b'{"text": "good"}'))
    ask("/batch_predict", b'{"texts": ["good", "bad"]}')
    ask("/")
    ask("/metrics")
    print(json.dumps({"label": answer["label"], "modules": sorted(set(sys.modules) - before)}), file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=use).start()
from tunelane_serving.server.command import main
sys.exit(main(["--package", package, "--port", port, "--mode", "serverless"]))
"""

_FORBIDDEN = {
    "torch", "transformers", "peft", "onnx", "sklearn", "pandas", "kfp", "mlflow", "google", "pydantic", "fastapi",
    "fsspec", "gcsfs", "huggingface_hub", "sqlalchemy", "typer", "rich", "tunelane_components",
    "tunelane_pipelines",
}  # fmt: skip


def test_a_running_server_has_imported_nothing_of_training_kfp_or_clouds(
    tiny_package: Callable[..., Path], tmp_path: Path
) -> None:
    package = tiny_package(tmp_path / "reviews")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ended = subprocess.run(
        [sys.executable, "-c", _DRIVER, package, str(port)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(next(line for line in ended.stderr.splitlines() if line.startswith('{"label"')))
    assert told["label"] == "positive"
    imported = {name.partition(".")[0] for name in told["modules"]}
    assert {"onnxruntime", "tokenizers", "starlette", "uvicorn", "msgspec"} <= imported
    assert imported & _FORBIDDEN == set()
