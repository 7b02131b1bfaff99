"""MLServer with the same graph: a runtime of one's own, two worker processes with a thread each, metrics off.

python benchmarks/serving/with_mlserver.py PACKAGE PORT DIRECTORY

DIRECTORY takes its settings files.
"""

import json
import os
import socket
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from raw_graph import RawGraph, session_options

WORKERS = 2


class Runtime(MLModel):
    async def load(self) -> bool:
        self.graph = RawGraph(Path(self.settings.parameters.uri), session_options())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        answer = self.graph.answer(payload.inputs[0].data[0])
        label = ResponseOutput(name="label", shape=[1], datatype="BYTES", data=[answer["label"]])
        scores = list(answer["scores"].values())
        return InferenceResponse(
            model_name=self.name,
            outputs=[label, ResponseOutput(name="scores", shape=[len(scores)], datatype="FP32", data=scores)],
        )


def start(package: str, port: int, directory: Path) -> None:
    """Become MLServer, which reads its settings from files."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        grpc_port = found.getsockname()[1]
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": grpc_port,
        "parallel_workers": WORKERS,
        "metrics_endpoint": None,
        "debug": False,
        "use_structured_logging": False,
    }
    model = {"name": "text", "implementation": "with_mlserver.Runtime", "parameters": {"uri": package}}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "settings.json").write_text(json.dumps(settings))
    (directory / "model-settings.json").write_text(json.dumps(model))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)}
    command = [str(Path(sys.executable).with_name("mlserver")), "start", str(directory)]
    os.execve(command[0], command, environment)  # noqa: S606 - its own command


if __name__ == "__main__":
    start(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
