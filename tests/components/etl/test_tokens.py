"""Where the tokenizer comes from, and how it counts."""

import json
from pathlib import Path

import pytest

from tunelane_components.etl.tokens import TOKENIZER, count_tokens, load_tokenizer
from tunelane_serving.errors import InputError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tokenizer of three words that adds [CLS], truncates at 2 and pads to 8, and with weights."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "[CLS]": 1, "good": 2, "film": 3}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A", special_tokens=[("[CLS]", 1)])
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    directory = tmp_path_factory.mktemp("tokenizer") / "model"
    directory.mkdir()
    tokenizer.save(str(directory / TOKENIZER))
    (directory / "model.safetensors").write_bytes(b"large")
    return directory


def test_whole_texts_are_counted_with_their_special_tokens(model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(model), tmp_path)
    assert count_tokens(tokenizer, ["good film", "", "a good film 🚀 of  many\nwords", "good " * 2_000]) == [
        3,
        1,
        8,
        2_001,
    ]
    assert count_tokens(tokenizer, []) == []


def test_every_text_is_counted_in_its_place_over_many_batches(model: Path, tmp_path: Path) -> None:
    texts = ["good " * (number % 7) for number in range(2_345)]
    assert count_tokens(load_tokenizer(str(model), tmp_path), texts) == [1 + number % 7 for number in range(2_345)]


def test_tokens_are_counted_as_the_trainer_counts_them(tiny_encoder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    texts = ["the film was good", "we had a lovely day, then one awful night", "unknown 🚀 words"]
    trainer = AutoTokenizer.from_pretrained(tiny_encoder)
    expected = [len(ids) for ids in trainer(texts)["input_ids"]]
    assert count_tokens(load_tokenizer(str(tiny_encoder), tmp_path), texts) == expected


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/tokenizer.json", "file://{}", "file://{}/tokenizer.json"])
def test_it_may_be_a_directory_or_its_file(model: Path, tmp_path: Path, form: str) -> None:
    assert count_tokens(load_tokenizer(form.format(model), tmp_path), ["good film"]) == [3]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["memory://models/tok", "memory://models/tok/", "memory://models/tok/tokenizer.json"])
def test_of_a_remote_directory_only_the_one_file_is_fetched(model: Path, tmp_path: Path, form: str) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    for path in model.iterdir():
        files.pipe_file(f"/models/tok/{path.name}", path.read_bytes())
    assert count_tokens(load_tokenizer(form, tmp_path), ["good film"]) == [3]
    assert [path.name for path in tmp_path.iterdir()] == [TOKENIZER]


def test_it_may_be_a_hub_id(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    cached = tmp_path / "models--somebody--tiny"
    (cached / "snapshots" / "0123abcd").mkdir(parents=True)
    (cached / "snapshots" / "0123abcd" / TOKENIZER).write_bytes((model / TOKENIZER).read_bytes())
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123abcd")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert count_tokens(load_tokenizer("somebody/tiny", tmp_path), ["good film"]) == [3]


def _refused(uri: str, scratch: Path) -> str:
    with pytest.raises(InputError) as refused:
        load_tokenizer(uri, scratch)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("uri", ["no-such-owner/no-such-model", "no such model!", "a/b/c"])
def test_a_tokenizer_that_nobody_has_is_refused(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    said = _refused(uri, tmp_path)
    assert said.startswith(f"Cannot get tokenizer {uri!r}: no such path, and the Hugging Face hub did not give its")
    assert said.endswith("Pass --set tokenizer= with a directory, a gs:// URI or a hub id.")


@pytest.mark.parametrize("uri", ["./missing", "/missing", "memory://models/missing", ""])
def test_a_path_that_does_not_exist_is_not_looked_up_on_a_hub(uri: str, tmp_path: Path) -> None:
    assert "Pass --set tokenizer=PATH or a gs:// URI" in _refused(uri, tmp_path)


def test_a_directory_without_the_file_says_how_to_make_it(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("good\n")
    assert f"tokenizer {tmp_path} holds no tokenizer.json. Load it with" in _refused(str(tmp_path), tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "no json", json.dumps({"model": "x\ny" * 500})])
def test_a_file_that_is_no_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    said = _refused(str(path), tmp_path)
    assert said.startswith(f"Cannot read tokenizer {path}: ")
    assert len(said) < 500
