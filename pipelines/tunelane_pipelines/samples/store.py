"""The samples there are, and the cache they are kept in: fetched once, then used offline."""

import logging
import os
import tempfile
from pathlib import Path

from tunelane_pipelines.nearest import no_such
from tunelane_pipelines.samples.download import download
from tunelane_pipelines.samples.minilm import MINILM
from tunelane_pipelines.samples.sample import Origin, Sample
from tunelane_pipelines.samples.sentiment import SENTIMENT
from tunelane_serving.contract import read, write
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.files import directory_written_atomically, home_expanded, locked

SAMPLES: dict[str, Sample] = {sample.name: sample for sample in (SENTIMENT, MINILM)}
"""Every sample by name."""

SCHEME = "sample://"
"""How a parameter names a sample instead of a path: `sample://sentiment`."""

_RECORD = "sample.json"
_LOG = logging.getLogger(__name__)


def sample_directory(name: str) -> Path:
    """Where a sample is kept, fetched or not: `samples/NAME` in the cache.

    The cache is $TUNELANE_CACHE_DIR, else $XDG_CACHE_HOME/tunelane, else ~/.cache/tunelane.
    """
    given = os.environ.get("TUNELANE_CACHE_DIR")
    cache = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tunelane"
    return home_expanded(cache).absolute() / "samples" / name


def is_fetched(name: str) -> bool:
    """Whether the sample is in the cache, from the pinned file and prepared as this release does it.

    Raises:
        InputError: there is no such sample.
    """
    sample = _named(name)
    directory = sample_directory(name)
    try:
        kept = read(directory / _RECORD, Origin)
    except ContractError:
        return False
    wanted = sample.origin
    same = (kept.sha256, kept.preparation) == (wanted.sha256, wanted.preparation)
    return same and (directory / sample.content).exists()


def fetch(name: str) -> Path:
    """Give the sample's CSV file or model directory, downloaded first where the cache does not have it.

    Whole or not at all, and safe beside another process that fetches the same: the second waits for the first.

    Raises:
        InputError: there is no such sample, or the cache cannot be written.
        DigestMismatch: the package is not the pinned one.
        TunelaneError: it cannot be downloaded.
    """
    sample = _named(name)
    directory = sample_directory(name)
    if not is_fetched(name):
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            with locked(directory.parent / f".{directory.name}.lock"):
                # Whoever held the lock before may have fetched it.
                if not is_fetched(name):
                    _fetch(sample, directory)
        except OSError as error:
            raise InputError(
                f"Cannot keep sample {name!r} in {directory.parent}: {error.strerror or error}. "
                "Set TUNELANE_CACHE_DIR to a directory with space that you can write."
            ) from error
    return directory / sample.content


def resolve(uri: str) -> str:
    """`sample://NAME` as the local path of that sample, fetched if it is missing; any other string as it is.

    Raises:
        InputError: there is no such sample; and what `fetch` raises.
    """
    return str(fetch(uri.removeprefix(SCHEME).rstrip("/"))) if uri.startswith(SCHEME) else uri


def _named(name: str) -> Sample:
    if name not in SAMPLES:
        raise InputError(no_such("sample", name, SAMPLES))
    return SAMPLES[name]


def _fetch(sample: Sample, directory: Path) -> None:
    with directory_written_atomically(directory) as scratch:
        with tempfile.TemporaryDirectory(dir=scratch) as downloads:
            sample.prepare(download(sample, Path(downloads)), scratch)
        write(scratch / _RECORD, sample.origin)
    _LOG.info("Sample %s is in %s", sample.name, directory)
