"""Export to ONNX, fp32 and int8, as an unsealed model package: no golden rows and no parity report yet."""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunelane_components.train.checkpoint import load_model, read_card
from tunelane_serving.backends.onnx import open_session
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically
from tunelane_serving.package import TOKENIZER, Manifest, Tensor, Variant, describe_files, seal

FP32_GRAPH = "model.onnx"
INT8_GRAPH = "model.int8.onnx"

_logger = logging.getLogger(__name__)


def export_package(checkpoint: Path, package: Path, *, quantize: bool = True) -> Manifest:
    """Write the checkpoint's graphs, tokenizer and manifest to `package`, atomically.

    Inputs are `input_ids` and `attention_mask`, (batch, sequence) int64; the output is `logits`, (batch, labels)
    float32. Variants stand in order of preference: int8 first where `quantize`.

    Raises:
        InputError: the checkpoint has no fast tokenizer (tokenizer.json), which is what the server reads.
    """
    card = read_card(checkpoint)
    if not (checkpoint / TOKENIZER).is_file():
        raise InputError(f"{checkpoint} has no {TOKENIZER}. Save the model with a fast tokenizer.")
    with directory_written_atomically(package) as draft:
        shutil.copyfile(checkpoint / TOKENIZER, draft / TOKENIZER)
        variants = [Variant("fp32", FP32_GRAPH)]
        export_graph(load_model(checkpoint), draft / FP32_GRAPH, output="logits")
        if quantize:
            quantize_graph(draft / FP32_GRAPH, draft / INT8_GRAPH)
            variants.insert(0, Variant("int8", INT8_GRAPH))
        for variant in variants:
            _logger.info("%s: %.1f MB", variant.name, (draft / variant.path).stat().st_size / 1e6)
        session = open_session(draft / FP32_GRAPH)
        manifest = Manifest(
            framework="onnx",
            task="single_label",
            files=describe_files(draft),
            variants=tuple(variants),
            inputs=described_tensors(session.get_inputs()),
            outputs=described_tensors(session.get_outputs()),
            max_length_tokens=card.max_length_tokens,
            base_model=card.base_model,
            taxonomy=card.taxonomy,
            data_digest=card.data_digest,
            metrics=card.metrics,
        )
        seal(draft, manifest)
    return manifest


def export_graph(model: Any, target: Path, *, output: str) -> None:
    """Write the float32 graph of a `transformers` model: dynamic batch and sequence.

    Weights are inside: an encoder is far below protobuf's 2 GB.

    Args:
        model: in evaluation mode, on the CPU.
        target: the ONNX file to write.
        output: which field of the model's answer is the graph's output, and its name ("logits").
    """
    import onnx
    import torch

    class OneOutput(torch.nn.Module):
        """The model from two tensors to one, as the server feeds it."""

        def __init__(self, wrapped: Any) -> None:
            super().__init__()
            self.wrapped = wrapped

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            """Give the output, batch axis first."""
            return getattr(self.wrapped(input_ids=input_ids, attention_mask=attention_mask), output)

    # Two rows and an odd length: sizes that the exporter cannot mistake for constants.
    input_ids = torch.ones((2, 11), dtype=torch.int64)
    dynamic = {0: "batch", 1: "sequence"}
    with _quiet():
        program: Any = torch.onnx.export(
            OneOutput(model).eval(),
            (input_ids, torch.ones_like(input_ids)),
            input_names=["input_ids", "attention_mask"],
            output_names=[output],
            dynamic_shapes=(dynamic, dynamic),
            dynamo=True,
            verbose=False,
        )
        exported = program.model_proto
    # The exporter notes for every node where in the source it comes from: paths of this machine, and most of the size
    # of a small graph. Shapes that it noted contradict what the quantiser inserts, which refuses the graph.
    graph = exported.graph
    del graph.value_info[:]
    for part in (exported, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
    onnx.save(exported, target)


def quantize_graph(source: Path, target: Path) -> None:
    """Dynamic int8 with signed weights a channel.

    The graph is left unfused: ONNX Runtime fuses it at load, and quantising the fused one is slower and no closer.
    Unsigned weights cost twice the time on CPUs with VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


def described_tensors(values: list[Any]) -> tuple[Tensor, ...]:
    """Describe a session's inputs or outputs."""
    return tuple(Tensor(value.name, _dtype(value.type), tuple(value.shape)) for value in values)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporter and quantiser, which log a line for every operator that they know nothing of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _dtype(onnx_type: str) -> str:
    """Give ONNX Runtime's "tensor(int64)" as "int64", its "tensor(float)" as numpy's "float32"."""
    name = onnx_type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
