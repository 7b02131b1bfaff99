"""The lane in miniature, each part made by the real stage: encoder, dataset, checkpoint, draft, package."""

import csv
import random
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tunelane_components.train.environment import prepare_torch_environment
from tunelane_components.train.lora import LoraOptions

# Torch reads its environment when it is first imported, whichever test does it.
prepare_torch_environment()

_WORDS_BY_LABEL = {
    "negative": ("bad", "awful", "poor", "dull", "weak"),
    "neutral": ("plain", "usual", "average", "normal", "common"),
    "positive": ("good", "great", "fine", "lovely", "superb"),
}
_FILLER = (
    *("a", "the", "film", "book", "meal", "room", "was", "is", "it", "and", "with", "for", "of", "we", "they", "my"),
    *("our", "one", "day", "night", "story", "staff", "food", "place", "time", "then", "here", "there", "so", "just"),
    *("very", "quite", "rather", "some", "many", "few", "it's", "that", "this", "on", "at", "by", "to", "as"),
)
_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_MAX_LENGTH_TOKENS = 64
_ROWS = 420


class ReadPage(HTMLParser):
    """An HTML document as a reader meets it: its text, its tags and their attributes, every tag closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text = html, ""
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "title"):
            self.text = f"{self.text} {data.strip()}".strip() if data.strip() else self.text


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], ReadPage]:
    """Give a reader of HTML documents and fragments."""
    return ReadPage


@pytest.fixture(scope="session")
def hostile_names() -> tuple[str, ...]:
    """Give names as data may bring them: markup, quotes, one very long, right-to-left, emoji, template marks."""
    return (
        "<script src='https://x.example/a.js'>alert(1)</script>",
        "\"quoted' & co",
        "endless" * 60,
        "שלום עולם",
        "😀🎉",
        "{{ 7 * 1000003 }}",
    )


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save an untrained BERT of two layers with a fast tokenizer of some sixty words; Apache-2.0, its README says."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    directory = tmp_path_factory.mktemp("base") / "tiny-encoder"
    words = [*_SPECIAL_TOKENS, *_FILLER, *(word for words in _WORDS_BY_LABEL.values() for word in words)]
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="[UNK]"))  # noqa: S106 - a token of text, not a secret
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106 - likewise
        unk_token="[UNK]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
    ).save_pretrained(directory)

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=_MAX_LENGTH_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # Wider than BERT's 0.02: at this width nothing of the input would reach the pooler of an untrained model.
        initializer_range=0.1,
    )
    BertModel(config).save_pretrained(directory)
    (directory / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n\n# A tiny encoder\n")
    return directory


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a dataset of texts of 3 to 41 words; the words that speak for a label stand amid filler."""
    from tunelane_components.etl.build import build_dataset

    directory = tmp_path_factory.mktemp("data")
    generator = random.Random(0)  # noqa: S311 - no secret
    with (directory / "toy.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("text", "label"))
        for number in range(_ROWS):
            label = list(_WORDS_BY_LABEL)[number % len(_WORDS_BY_LABEL)]
            filler = generator.choices(_FILLER, k=generator.randint(2, 30))
            words = filler + generator.choices(_WORDS_BY_LABEL[label], k=1 + len(filler) // 3)
            generator.shuffle(words)
            writer.writerow((" ".join(words), label))
    build_dataset(str(directory / "toy.csv"), directory / "dataset", valid_fraction=0.2, test_fraction=0.2)
    return directory / "dataset"


@pytest.fixture(scope="session")
def toy_options() -> LoraOptions:
    """Give hyperparameters under which the tiny encoder learns the toy task in seconds."""
    return LoraOptions(
        rank=4,
        alpha=8,
        dropout=0.0,
        epochs=6,
        batch_size=16,
        learning_rate=1e-2,
        max_length_tokens=_MAX_LENGTH_TOKENS,
        precision="fp32",
    )


@pytest.fixture(scope="session")
def toy_checkpoint(
    tiny_encoder: Path, toy_dataset: Path, toy_options: LoraOptions, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Save what `train_lora` makes of the tiny encoder and the toy dataset."""
    from tunelane_components.train.lora import train_lora

    checkpoint = tmp_path_factory.mktemp("train") / "checkpoint"
    train_lora(toy_dataset, str(tiny_encoder), checkpoint, toy_options)
    return checkpoint


@pytest.fixture(scope="session")
def toy_package_draft(toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save what `export_package` makes of the toy checkpoint."""
    from tunelane_components.export.onnx import export_package

    draft = tmp_path_factory.mktemp("export") / "draft"
    export_package(toy_checkpoint, draft)
    return draft


@pytest.fixture(scope="session")
def toy_package(
    toy_checkpoint: Path, toy_dataset: Path, toy_package_draft: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Save what `validate_parity` seals of the toy draft."""
    from tunelane_components.parity.comparison import ParityBounds
    from tunelane_components.parity.parity import validate_parity

    package = tmp_path_factory.mktemp("parity") / "package"
    validate_parity(toy_checkpoint, toy_dataset, toy_package_draft, package, bounds=ParityBounds())
    return package
