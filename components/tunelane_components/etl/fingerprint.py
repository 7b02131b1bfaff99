"""What the sources of a dataset are right now, as one digest: what was built from the same may serve again."""

import hashlib
import secrets
import tempfile
from pathlib import Path

import msgspec

from tunelane_components.etl.sources.find import SourceFile, find_sources
from tunelane_components.etl.sources.formats import FORMATS
from tunelane_components.etl.sources.opening import RawFile
from tunelane_components.etl.tokens import NoTokenizerFile, tokenizer_path
from tunelane_components.storage import local_path
from tunelane_serving.files import sha256_file

_READ_BYTES = 4 * 2**20


def fingerprint(
    data: str,
    *,
    test_data: str = "",
    taxonomy: str = "",
    source_format: str = "",
    tokenizer: str = "",
    prompt_template: str = "",
    upload_root: str = "",
) -> str:
    """Digest what `build_dataset` would read now, by parameters of the same names.

    It changes with every file that comes, goes, is renamed or is written again. A file counts by its URI, its size and
    what its store calls this very content; where the store has no such word, by the SHA-256 of its bytes. So it is for
    local files: size and time can stay when the content changes, and the build reads every byte anyway. Taxonomy,
    prompt template and the tokenizer's one file are small and count by their bytes wherever they lie.

    The fingerprint is new each time where nobody can tell whether a build would come out the same: for a transformer,
    which reads what it likes, and for a pipe, whose bytes are there once. So it is with `upload_root`, where a build is
    done for what it puts there, and what an earlier one put there may be gone.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: a source is missing or cannot be read.
    """
    found = {"data": find_sources(data, source_format=source_format)}
    if test_data:
        found["test_data"] = find_sources(test_data, source_format=source_format, what="test_data")
    small = {"taxonomy": taxonomy, "prompt_template": prompt_template}
    sources = [source for there in found.values() for source in there.files]
    is_known = all(source.format in FORMATS and _is_lasting(source.uri) for source in sources)
    if upload_root or not is_known or not all(map(_is_lasting, small.values())):
        return secrets.token_hex(hashlib.sha256().digest_size)
    parts = {
        **{what: [[*map(_identity, there.files)], there.ignored] for what, there in found.items()},
        **{what: _sha256(uri, what) for what, uri in small.items() if uri},
        "tokenizer": _tokenizer_sha256(tokenizer) if tokenizer else "",
    }
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _is_lasting(uri: str) -> bool:
    """Whether what is read at `uri` stays there: all but pipes and devices."""
    path = local_path(uri)
    return path is None or not path.exists() or path.is_file() or path.is_dir()


def _identity(source: SourceFile) -> tuple[str, str, int, str]:
    return source.uri, source.name, source.size_bytes, source.version or _sha256(source.uri, "data")


def _sha256(uri: str, what: str) -> str:
    file = RawFile(uri, what)
    try:
        while file.read(_READ_BYTES):
            pass
        return file.sha256()
    finally:
        file.close()


def _tokenizer_sha256(tokenizer: str) -> str:
    """Digest of the tokenizer's file; empty where the model has none, as the build then counts no tokens."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return sha256_file(tokenizer_path(tokenizer, Path(scratch) / "tokenizer"))
        except NoTokenizerFile:
            return ""
