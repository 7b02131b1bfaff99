"""The formats that are read, and the endings of file names that tell them."""

import difflib

from tunelane_components.etl.sources.transformers import transformer_names
from tunelane_serving.errors import InputError

FORMATS = ("csv", "tsv", "json", "jsonl", "parquet")
COMPRESSIONS = ("gz", "zst")
_FORMAT_BY_ENDING = {
    "csv": "csv",
    "tsv": "tsv",
    "json": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
}
ENDINGS = f".{', .'.join(_FORMAT_BY_ENDING)} (text also as .{' or .'.join(COMPRESSIONS)})"


def format_and_compression(name: str) -> tuple[str, str]:
    """The format and the compression that a file's name tells; the format is empty where it tells none."""
    stem, _, ending = name.lower().rpartition(".")
    compression = ""
    if ending in COMPRESSIONS:
        compression = ending
        stem, _, ending = stem.rpartition(".")
    file_format = _FORMAT_BY_ENDING.get(ending, "") if stem else ""
    # Parquet compresses its own columns, and cannot be read as a stream.
    return ("", compression) if compression and file_format == "parquet" else (file_format, compression)


def check_format(source_format: str) -> None:
    """Stop at a `source_format` that is neither a format nor a transformer's name.

    Raises:
        InputError: there is none of this name.
    """
    transformers = transformer_names()
    if source_format in FORMATS or source_format in transformers:
        return
    near = difflib.get_close_matches(source_format.lower(), [*FORMATS, *transformers], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    installed = ", ".join(transformers) or "none is installed"
    raise InputError(
        f"Unknown source_format {source_format!r}.{hint} Formats: {', '.join(FORMATS)}. Transformers: {installed}."
    )
