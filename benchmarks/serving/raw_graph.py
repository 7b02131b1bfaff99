"""The package's graph and tokenizer as anybody would open them, without Tunelane: what all comparisons share."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class RawGraph:
    """A graph, its tokenizer and its labels. Without padding, which would cost every contestant several times more."""

    def __init__(self, package: Path, options: onnxruntime.SessionOptions | None = None) -> None:
        """Open the package's preferred variant; without `options` as ONNX Runtime does by default."""
        manifest = json.loads((package / "manifest.json").read_bytes())
        self.labels = [label["name"] for label in manifest["taxonomy"]["labels"]]
        self.tokenizer = Tokenizer.from_file(str(package / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(manifest["max_length_tokens"])
        path = package / manifest["variants"][0]["path"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [tensor.name for tensor in self.session.get_inputs()]

    def scores(self, text: str) -> np.ndarray:
        """Give the probabilities of one text: (labels,) float32."""
        logits = self.run([text])[0]
        shifted = np.exp(logits - logits.max())
        return shifted / shifted.sum()

    def answer(self, text: str) -> dict[str, object]:
        """Give the label and all scores, as a server answers them."""
        scores = self.scores(text)
        return {"label": self.labels[int(scores.argmax())], "scores": dict(zip(self.labels, scores.tolist()))}  # noqa: B905

    def run(self, texts: Sequence[str]) -> np.ndarray:
        """Give the logits of texts with the same number of tokens: (texts, labels) float32."""
        encodings = [self.tokenizer.encode(text) for text in texts]
        columns = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        feed = {name: np.array(columns[name], np.int64) for name in self._names}
        logits: np.ndarray = self.session.run(None, feed)[0]
        return logits


def session_options(threads: int = 1, *, spinning: bool = False) -> onnxruntime.SessionOptions:
    """Give session options with so many threads inside one run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return options
