"""Who is compared: how each server starts, and how it is asked."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

OURS, NAIVE, TORCH, LITSERVE, MLSERVER = "tunelane", "naive", "torch", "litserve", "mlserver"
BARE = "bare"
PEERS = (LITSERVE, MLSERVER)


@dataclass(frozen=True)
class Contestant:
    """A server of the same model.

    Attributes:
        name: in tables and results.
        command: gives what to start, for a port and an empty directory of its own.
        path: where texts are posted.
        body: a text as the body of a request, before it is JSON.
        label: the label in an answer.
        environment: variables to start with.
        is_same_graph: it runs the package's graph, so it must give the same labels; PyTorch's weights are not int8.
    """

    name: str
    command: Callable[[int, Path], list[str]]
    path: str = "/predict"
    body: Callable[[str], Any] = lambda text: {"text": text}
    label: Callable[[Any], str] = lambda answer: str(answer["label"])
    environment: Mapping[str, str] = field(default_factory=dict)
    is_same_graph: bool = True

    def encode(self, text: str) -> str:
        """Give a request's body as JSON."""
        return json.dumps(self.body(text), ensure_ascii=False)


def tunelane(package: Path) -> Contestant:
    """Give this server as it is installed, with all that it does by default: it writes every event to SQLite."""

    def command(port: int, directory: Path) -> list[str]:
        options = ["--package", str(package), "--port", str(port), "--home", str(directory)]
        return [sys.executable, "-m", "tunelane_serving.server", *options]

    return Contestant(OURS, command)


def naive(package: Path) -> Contestant:
    """Give FastAPI with ONNX Runtime's default session."""
    return _script(NAIVE, sys.executable, "naive.py", str(package))


def bare(package: Path) -> Contestant:
    """Give the smallest server of the graph, which a cold start is compared with."""
    return _script(BARE, sys.executable, "bare.py", str(package))


def torch(checkpoint: Path, max_length_tokens: int) -> Contestant:
    """Give transformers with PyTorch, eager, behind FastAPI."""
    found = _script(TORCH, sys.executable, "with_torch.py", f"{checkpoint}", f"{max_length_tokens}")
    return Contestant(TORCH, found.command, is_same_graph=False)


def litserve(package: Path, python: str) -> Contestant:
    """Give LitServe, installed for the interpreter `python`."""
    return _script(LITSERVE, python, "with_litserve.py", str(package))


def mlserver(package: Path, python: str) -> Contestant:
    """Give MLServer, installed for the interpreter `python`."""

    def command(port: int, directory: Path) -> list[str]:
        return [python, str(HERE / "with_mlserver.py"), str(package), str(port), str(directory)]

    def body(text: str) -> Any:
        return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}

    def label(answer: Any) -> str:
        return str(answer["outputs"][0]["data"][0])

    return Contestant(MLSERVER, command, "/v2/models/text/infer", body, label)


def _script(name: str, python: str, script: str, *arguments: str) -> Contestant:
    return Contestant(name, lambda port, _: [python, str(HERE / script), *arguments, str(port)])
