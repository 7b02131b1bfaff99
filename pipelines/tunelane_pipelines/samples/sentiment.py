"""The sample data: four kinds of short text with human sentiment ratings, as negative and positive."""

import csv
import html
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tunelane_pipelines.samples.sample import Origin, Sample
from tunelane_serving.errors import TunelaneError

MIN_ABS_RATING = 1.0
"""Rows whose mean rating (from -4 to 4, of 20 people or more) lies nearer to 0 are dropped: no clear label there."""

_CONTENT = "sentiment.csv"
_OUTER_FOLDER = "vaderSentiment-2.5/additional_resources"
_INNER_FOLDER = "hutto_ICWSM_2014"
_SOURCE_BY_FILE = {
    "movieReviewSnippets_GroundTruth.txt": "movies",
    "amazonReviewSnippets_GroundTruth.txt": "products",
    "tweets_GroundTruth.txt": "tweets",
    "nytEditorialSnippets_GroundTruth.txt": "editorials",
}


def prepare(archive: Path, directory: Path) -> None:
    """Write `sentiment.csv` (id, text, label, source) into `directory` from the package's source distribution."""
    with (directory / _CONTENT).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("id", "text", "label", "source"))
        writer.writerows(_rows(archive))


def _rows(archive: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield (id, text, label, source) from the ground-truth files: UTF-8, CRLF, `id TAB mean rating TAB text`."""
    with (
        tarfile.open(archive) as outer,
        _opened(outer, f"{_OUTER_FOLDER}/{_INNER_FOLDER}.tar.gz") as packed,
        tarfile.open(fileobj=packed) as inner,
    ):
        for file, source in _SOURCE_BY_FILE.items():
            with _opened(inner, f"{_INNER_FOLDER}/{file}") as stream:
                lines = stream.read().decode("utf-8").split("\r\n")
            for line in filter(None, lines):
                row_id, rating, text = line.split("\t")
                if abs(float(rating)) >= MIN_ABS_RATING:
                    yield f"{source}-{row_id}", _tidied(text), _label(float(rating)), source


def _label(rating: float) -> str:
    return "positive" if rating > 0 else "negative"


def _tidied(text: str) -> str:
    """`text` with its HTML entities resolved and its ends stripped, otherwise as it was written.

    About one row in a hundred was collected with entities (`&lt;3`), a few product reviews with doubled ones
    (`&amp;#38;`), which nobody types and no server is sent.
    """
    return html.unescape(html.unescape(text)).strip()


def _opened(archive: tarfile.TarFile, member: str) -> IO[bytes]:
    """Open one member by name: nothing else of the archive reaches the disk."""
    stream = archive.extractfile(member)
    if stream is None:
        raise TunelaneError(f"{member} is not a file in the package")
    return stream


SENTIMENT = Sample(
    origin=Origin(
        name="sentiment",
        kind="data",
        description="Movie and product reviews, tweets and editorials, rated by people: negative or positive.",
        package="vaderSentiment",
        package_version="2.5",
        sha256="b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
        licence="MIT",
        licence_note=(
            "The package's licence. It may not cover the texts themselves, which were written by reviewers, "
            "journalists and users of Twitter."
        ),
        source=(
            "Sentence-level snippets of movie reviews (rottentomatoes.com), product reviews (amazon.com) and opinion "
            "editorials (New York Times), and tweets; each rated by 20 people or more from -4 to 4. "
            f"The ground-truth files of {_INNER_FOLDER}.tar.gz in the package's source distribution."
        ),
        preparation=(
            f"Rows with |mean rating| below {MIN_ABS_RATING} dropped; label positive above 0, negative below; "
            "HTML entities resolved and outer white space stripped; duplicates kept."
        ),
        citation=(
            "Hutto, C.J. & Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of "
            "Social Media Text. Eighth International Conference on Weblogs and Social Media (ICWSM-14). Ann Arbor, MI."
        ),
    ),
    source_only=True,
    content=_CONTENT,
    prepare=prepare,
)
