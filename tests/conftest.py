"""Fixtures for every test: a tiny but real model package, built in milliseconds, and a browser that looks at pages."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from tunelane_serving.classifier import TextClassifier
from tunelane_serving.package import (
    TOKENIZER,
    BaseModel,
    Golden,
    Manifest,
    Task,
    Tensor,
    Variant,
    describe_files,
    seal,
)
from tunelane_serving.taxonomy import Label, Taxonomy

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_MAX_LENGTH_TOKENS = 32
_LAST_LABEL_WORDS = ("good", "great", "love")
_FIRST_LABEL_WORDS = ("bad", "awful", "hate")
_OTHER_WORDS = ("a", "the", "film", "was", "it", "so", "and")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SMALLEST_DRAWN_TEXT = """Math.min(99, ...[...document.querySelectorAll('svg text')].map(text =>
  parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a))"""
_GOLDEN_TEXTS = ("good film", "it was a bad film", "the film", "great and awful and good")


@pytest.fixture(scope="session")
def tiny_package() -> Callable[..., Path]:
    """Give a factory of model packages: a real ONNX graph, a real tokenizer and golden rows.

    `tiny_package(directory, labels=("negative", "positive"), bias=(0.0, 0.0), task="single_label")` fills `directory`
    and returns it. Each known word adds to one label's logit: a label's own name (lower case) to that label,
    good/great/love to the last label, bad/awful/hate to the first. Another `bias` (added to the logits; missing numbers
    are 0) gives another digest.
    """
    return _build_package


# Not of the session: while it is there, Playwright's event loop keeps `asyncio.run` from working in this process.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Start Chromium, driven by Playwright's sync API."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if executable is None:
        pytest.fail("install chromium: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(_BROWSER_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def check_page(browser: "Browser") -> Callable[[str], None]:
    """Give a check of an HTML document, at 1280 and 360 px, light and dark.

    Nothing may overflow the page sideways, be an error on the console, leave for the network, or be text in a drawing
    of less than 11 px.
    """

    def check(html: str) -> None:
        page = browser.new_page()
        said: list[str] = []
        asked_for: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.route("**/*", lambda route: (asked_for.append(route.request.url), route.abort()))
        page.set_content(html)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                wide, visible = page.evaluate(
                    "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                )
                assert wide <= visible, f"{wide} px wide on {width}"
                assert page.evaluate(_SMALLEST_DRAWN_TEXT) >= 11
        page.close()
        assert (said, asked_for) == ([], [])

    return check


def _build_package(
    directory: Path,
    labels: Sequence[str] = ("negative", "positive"),
    bias: Sequence[float] = (0.0, 0.0),
    task: Task = "single_label",
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    label_by_word: dict[str, int | None] = dict.fromkeys(_OTHER_WORDS)
    label_by_word |= dict.fromkeys(_FIRST_LABEL_WORDS, 0) | dict.fromkeys(_LAST_LABEL_WORDS, len(labels) - 1)
    label_by_word |= {name.lower(): index for index, name in enumerate(labels)}
    vocabulary = {word: index for index, word in enumerate(("[UNK]", "[CLS]", *label_by_word))}
    _write_tokenizer(directory / TOKENIZER, vocabulary)

    # One-hot rows: the mean over a text's words is the share of words that speak for each label.
    embedding = np.zeros((len(vocabulary), len(labels)), np.float32)
    for word, label in label_by_word.items():
        if label is not None:
            embedding[vocabulary[word], label] = 1.0
    # A text that speaks for no label stays below every threshold of a multi-label task.
    padded_bias = np.full(len(labels), -2.0, np.float32)
    padded_bias[: len(bias)] += bias
    (directory / "onnx").mkdir(exist_ok=True)
    _write_graph(directory / "onnx" / "model.onnx", embedding, padded_bias)

    manifest = Manifest(
        framework="onnx",
        task=task,
        files=describe_files(directory),
        variants=(Variant("fp32", "onnx/model.onnx", golden_tolerance=1e-4),),
        inputs=(
            Tensor("input_ids", "int64", ("batch", "sequence")),
            Tensor("attention_mask", "int64", ("batch", "sequence")),
        ),
        outputs=(Tensor("logits", "float32", ("batch", len(labels))),),
        max_length_tokens=_MAX_LENGTH_TOKENS,
        base_model=BaseModel("tiny", "Apache-2.0"),
        taxonomy=Taxonomy(tuple(Label(name) for name in labels)),
    )
    seal(directory, manifest)
    classifier = TextClassifier.open(directory)
    goldens = tuple(
        Golden(text, {"fp32": tuple(float(score) for score in classifier.scores(text))}) for text in _GOLDEN_TEXTS
    )
    seal(directory, msgspec.structs.replace(manifest, goldens=goldens))
    return directory


def _write_tokenizer(path: Path, vocabulary: dict[str, int]) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text, not a secret
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", vocabulary["[CLS]"])])
    tokenizer.save(str(path))


def _write_graph(path: Path, embedding: np.ndarray, bias: np.ndarray) -> None:
    """Masked mean of word embeddings (vocabulary, labels), times 8, plus bias: logits (batch, labels) float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    labels = len(bias)
    initializers = {
        "embedding": embedding,
        "head": 8.0 * np.eye(labels, dtype=np.float32),
        "bias": bias,
        "last_axis": np.array([2], np.int64),
        "token_axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last_axis"], ["mask_column"]),
        helper.make_node("Mul", ["words", "mask_column"], ["masked"]),
        helper.make_node("ReduceMean", ["masked", "token_axis"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, ("batch", "sequence")),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ("batch", "sequence")),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", labels))],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make MLflow's tables, empty: making them takes a second."""
    from mlflow.tracking import MlflowClient

    database = tmp_path_factory.mktemp("made") / "registry.db"
    MlflowClient(f"sqlite:///{database}", f"sqlite:///{database}").search_registered_models()
    return database
