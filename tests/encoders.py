"""One BERT encoder in three frameworks, from one checkpoint: ONNX by PyTorch, SavedModel and LiteRT by TensorFlow.

The TensorFlow model is written out here, layer by layer, so that it is TensorFlow's arithmetic that is compared, not a
converted graph.
"""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ENCODER_TEXTS = (
    "The film was surprisingly good, although the ending felt rushed.",
    "My parcel never arrived.",
    "How do I reset the password of my second account?",
    "A warm woollen jumper for cold evenings by the sea, hand-knitted in undyed yarn.",
    "Naïve café owners in Zürich paid 3,50 € for crème brûlée; unputdownable!",
    "yes",
)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "token_vectors"


def write_onnx(checkpoint: Path, target: Path, *, layers: int | None = None) -> Path:
    """Export the checkpoint's first `layers` (None: all) by PyTorch; token vectors (batch, sequence, width) float32."""
    import onnx
    import torch
    from transformers import BertModel

    encoder = BertModel.from_pretrained(checkpoint, add_pooling_layer=False).eval()
    # A list of layers, of which the rest is not needed.
    encoder.encoder.layer = encoder.encoder.layer[:layers]

    class TokenVectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.encoder(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state

    # Three tensors of their own: one that stood twice would be taken for one input.
    example = torch.ones((2, 11), dtype=torch.int64)
    dynamic = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            program: Any = torch.onnx.export(
                TokenVectors().eval(),
                (example, torch.ones_like(example), torch.zeros_like(example)),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=(dynamic, dynamic, dynamic),
                dynamo=True,
                verbose=False,
            )
        finally:
            logging.disable(logging.NOTSET)
    model = program.model_proto
    # Where in the source each node comes from: paths of this machine.
    for part in (model, model.graph, *model.graph.node):
        del part.metadata_props[:]
    onnx.save(model, target)
    return target


def write_saved_model(checkpoint: Path, target: Path, *, layers: int | None = None) -> Path:
    """Write the encoder as TensorFlow's SavedModel, signature "serving_default"; gives its saved_model.pb."""
    import tensorflow as tf

    module, signature = _tensorflow_encoder(checkpoint, layers)
    tf.saved_model.save(module, str(target), signatures={"serving_default": signature})
    return target / "saved_model.pb"


def write_lite_rt(checkpoint: Path, target: Path, *, layers: int | None = None) -> Path:
    """Write the encoder as a LiteRT flat buffer with the same signature."""
    import tensorflow as tf

    module, signature = _tensorflow_encoder(checkpoint, layers)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature], module)
    target.write_bytes(converter.convert())
    return target


def _tensorflow_encoder(checkpoint: Path, layers: int | None) -> tuple[Any, Any]:
    """Give the encoder as a tf.Module and its concrete function of three (batch, sequence) int64 tensors."""
    import tensorflow as tf
    from safetensors.numpy import load_file

    config = json.loads((checkpoint / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["hidden_size"]
    module = tf.Module()
    left_out = tuple(f"encoder.layer.{number}." for number in range(layers or 99, config["num_hidden_layers"]))
    weights = {
        name: tf.Variable(array)
        for name, array in load_file(checkpoint / "model.safetensors").items()
        if not name.startswith((*left_out, "pooler."))
    }
    module.weights = weights

    def dense(name: str, inputs: Any) -> Any:
        # PyTorch keeps a dense layer's weights as (outputs, inputs).
        return tf.matmul(inputs, weights[f"{name}.weight"], transpose_b=True) + weights[f"{name}.bias"]

    def normalized(name: str, inputs: Any) -> Any:
        mean, variance = tf.nn.moments(inputs, axes=[-1], keepdims=True)
        scaled = (inputs - mean) * tf.math.rsqrt(variance + config["layer_norm_eps"])
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(name: str, hidden: Any, bias: Any) -> Any:
        batch, sequence = tf.shape(hidden)[0], tf.shape(hidden)[1]

        def by_head(part: str) -> Any:
            split = tf.reshape(dense(f"{name}.self.{part}", hidden), (batch, sequence, heads, width // heads))
            return tf.transpose(split, (0, 2, 1, 3))

        similarity = tf.matmul(by_head("query"), by_head("key"), transpose_b=True) / np.sqrt(width // heads)
        mixed = tf.matmul(tf.nn.softmax(similarity + bias), by_head("value"))
        joined = tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), (batch, sequence, width))
        return normalized(f"{name}.output.LayerNorm", dense(f"{name}.output.dense", joined) + hidden)

    def encode(input_ids: Any, attention_mask: Any, token_type_ids: Any) -> dict[str, Any]:
        hidden = tf.gather(weights["embeddings.word_embeddings.weight"], input_ids)
        hidden += tf.gather(weights["embeddings.token_type_embeddings.weight"], token_type_ids)
        hidden += weights["embeddings.position_embeddings.weight"][: tf.shape(input_ids)[1]]
        hidden = normalized("embeddings.LayerNorm", hidden)
        bias = tf.expand_dims(tf.expand_dims(1.0 - tf.cast(attention_mask, tf.float32), 1), 1) * -1e9
        for number in range(layers or config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            hidden = attention(f"{layer}.attention", hidden, bias)
            inner = tf.nn.gelu(dense(f"{layer}.intermediate.dense", hidden), approximate=False)
            hidden = normalized(f"{layer}.output.LayerNorm", dense(f"{layer}.output.dense", inner) + hidden)
        return {OUTPUT: hidden}

    function = tf.function(
        encode, input_signature=[tf.TensorSpec((None, None), tf.int64, name=name) for name in INPUTS]
    )
    module.encode = function
    return module, function.get_concrete_function()
