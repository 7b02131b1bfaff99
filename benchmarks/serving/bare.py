"""The smallest server of the graph: ONNX Runtime behind a bare ASGI function and uvicorn. It is what a start must cost.

python benchmarks/serving/bare.py PACKAGE PORT
"""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from raw_graph import RawGraph, session_options

graph = RawGraph(Path(sys.argv[1]), session_options())


async def app(
    _: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = json.dumps(graph.answer(json.loads(body)["text"])).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", lifespan="off", ws="none")
