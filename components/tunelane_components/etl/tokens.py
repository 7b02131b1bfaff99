"""How many tokens a text has for the model that will read it."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunelane_components.storage import local_copy
from tunelane_serving.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"

# Texts that are encoded at a time: an encoding holds some hundred bytes a token until it is counted.
_BATCH_ROWS = 1_000
_REASON_CHARACTERS = 200


class NoTokenizerFile(InputError):
    """A model is there, but not the file that counts its tokens: some have only the files of a slower tokenizer."""


def load_tokenizer(uri: str, scratch: Path) -> "Tokenizer":
    """Load the tokenizer that counts tokens; it neither truncates nor pads, whatever its file asks for.

    Args:
        uri: a directory with tokenizer.json, such a file (it ends in .json), a `gs://` (or other fsspec) URI of either,
            or a Hugging Face hub id. Of what is remote only that one file is fetched.
        scratch: a directory for what has to be downloaded.

    Raises:
        InputError: there is no such tokenizer, it cannot be read, or the hub cannot be reached and its cache does not
            hold it.
    """
    from tokenizers import Tokenizer

    path = tokenizer_path(uri, scratch)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        reason = textwrap.shorten(str(error), _REASON_CHARACTERS, placeholder=" …")
        raise InputError(
            f"Cannot read tokenizer {uri}: {reason}. Pass --set tokenizer= with another {TOKENIZER}."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def count_tokens(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[int]:
    """Count the tokens of each text as training does: whole, with the special tokens."""
    counts: list[int] = []
    for start in range(0, len(texts), _BATCH_ROWS):
        # Without the offsets of every token in its text, which nobody asks for here.
        encodings = tokenizer.encode_batch_fast(list(texts[start : start + _BATCH_ROWS]))
        counts += [len(encoding) for encoding in encodings]
    return counts


def tokenizer_path(uri: str, scratch: Path) -> Path:
    """Give the local path of the file that `uri` names; `uri` and errors as in `load_tokenizer`.

    Raises:
        NoTokenizerFile: the model has no tokenizer.json.
    """
    if not (Path(uri).exists() or "://" in uri or uri.startswith((".", "/", "~"))):
        return _from_hub(uri)
    is_remote = "://" in uri and not uri.startswith("file://")
    file_uri = f"{uri.rstrip('/')}/{TOKENIZER}" if is_remote and not uri.endswith(".json") else uri
    path = local_copy(file_uri, scratch, what="tokenizer")
    if not path.is_dir():
        return path
    if not (path / TOKENIZER).is_file():
        raise NoTokenizerFile(
            f"tokenizer {uri} holds no {TOKENIZER}. Load it with transformers' AutoTokenizer and save_pretrained it, "
            "or pass another directory."
        )
    return path / TOKENIZER


def _from_hub(name: str) -> Path:
    """Fetch a hub model's tokenizer, or find it in the hub's cache."""
    # A bar for a file of some hundred kB would stand in the logs.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
    )

    try:
        return Path(hf_hub_download(name, TOKENIZER))
    except RemoteEntryNotFoundError as error:
        raise NoTokenizerFile(
            f"tokenizer {name} holds no {TOKENIZER}. Load it with transformers' AutoTokenizer and save_pretrained it, "
            "or pass another directory."
        ) from error
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"Cannot get tokenizer {name!r}: no such path, and the Hugging Face hub did not give its {TOKENIZER} "
            f"({type(error).__name__}). Pass --set tokenizer= with a directory, a gs:// URI or a hub id."
        ) from error
