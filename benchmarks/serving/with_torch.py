"""The service that the ONNX server replaces: transformers and PyTorch, eager, behind FastAPI.

python benchmarks/serving/with_torch.py CHECKPOINT MAX_LENGTH_TOKENS PORT
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

app = FastAPI()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], attn_implementation="eager").eval()


class Request(BaseModel):
    text: str


class Answer(BaseModel):
    label: str
    scores: dict[str, float]


@app.post("/predict")
def predict(request: Request) -> Answer:
    encoded = tokenizer(request.text, return_tensors="pt", truncation=True, max_length=int(sys.argv[2]))
    with torch.inference_mode():
        scores = model(**encoded).logits[0].softmax(-1)
    labels = model.config.id2label
    return Answer(
        label=labels[int(scores.argmax())],
        scores={labels[index]: score for index, score in enumerate(scores.tolist())},
    )


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[3]), log_level="warning")
