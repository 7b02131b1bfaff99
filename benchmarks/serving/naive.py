"""The server that one would write first: FastAPI with a `def` route and ONNX Runtime's default session.

python benchmarks/serving/naive.py PACKAGE PORT
"""

import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from raw_graph import RawGraph

app = FastAPI()
graph = RawGraph(Path(sys.argv[1]))


class Request(BaseModel):
    text: str


class Answer(BaseModel):
    label: str
    scores: dict[str, float]


@app.post("/predict")
def predict(request: Request) -> Answer:
    return Answer.model_validate(graph.answer(request.text))


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
