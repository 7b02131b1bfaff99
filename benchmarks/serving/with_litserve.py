"""LitServe with the same graph: two worker processes with a thread each, the fast queue, a text at a time.

python benchmarks/serving/with_litserve.py PACKAGE PORT
"""

import sys
from pathlib import Path
from typing import Any

import litserve
from raw_graph import RawGraph, session_options

WORKERS = 2


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's name
        self.graph = RawGraph(Path(sys.argv[1]), session_options())

    def decode_request(self, request: dict[str, Any]) -> str:
        return str(request["text"])

    def predict(self, text: str) -> dict[str, object]:
        return self.graph.answer(text)

    def encode_response(self, answer: dict[str, object]) -> dict[str, object]:
        return answer


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=WORKERS, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
