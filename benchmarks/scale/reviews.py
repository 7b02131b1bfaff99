"""A large file of short reviews to build datasets from, made from a word list; equal for equal rows and seed.

The columns are id, text, label and source. Ids are padded numbers in the order of the file, so that of several equal
texts the first line is also the smallest record: the alternatives may keep the first, which costs them least.
"""

import csv
import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

LABELS = ("delivery", "fit", "price", "quality", "service")
SOURCES = ("app", "email", "partner", "shop")
HEADER = ("id", "text", "label", "source")

# Shares of all rows. A conflict makes two rows of it: the one with another label, and the one it repeats.
DUPLICATES = 0.03
CONFLICTS = 0.001
EMPTY_TEXTS = 0.0015
MISSING_LABELS = 0.0015
TOO_MANY_FIELDS = 0.001
TOO_FEW_FIELDS = 0.001

_BLOCK_ROWS = 50_000
_REMEMBERED_ROWS = 50_000
_PIECES = 20_000
_MIDDLE_SHARES = (0.75, 0.5)
_LINE_BREAKS = 0.01

_OPENINGS = (
    "The", "My", "Our", "This", "That", "Their", "Her new", "His old", "Another", "The second", "The last", "One more",
)  # fmt: skip
_THINGS = (
    "jacket", "blender", "parcel", "invoice", "backpack", "kettle", "order", "refund", "keyboard", "lamp", "sweater",
    "voucher", "headset", "mattress", "bicycle", "café table", "sofa", "charger", "cream set", "tent", "raincoat",
    "hairdryer", "notebook", "drill", "toaster", "office chair", "watch", "camera", "rug", "pair of boots", "wardrobe",
    "subscription", "replacement part", "gift card", "phone case", "coffee grinder", "curtain", "monitor", "printer",
)  # fmt: skip
_EVENTS = (
    "arrived", "broke", "was returned", "looked fine", "felt cheap", "came late", "fitted well", "went missing",
    "was too small", "cost more", "worked at once", "leaked", "was repaired", "smelled odd", "was packed with care",
    "lost its colour", "turned up", "stopped working", "was exchanged", "felt solid", "weighed too much", "ran hot",
)  # fmt: skip
_TIMES = (
    "after two days", "within a week", "on the first try", "last Monday", "before the holidays", "in the end",
    "three times", "by noon", "at the second attempt", "after one wash", "since March", "without a warning",
)  # fmt: skip
_OPINIONS = (
    "I would buy it again", "the staff were kind", "nobody answered my mail", "I want my money back",
    "the size chart is wrong", "you get what you pay for", "it is worth every cent", "the colour is “off-white”",
    "my neighbour likes it", "the courier rang twice", 'the label says "large"', "I am quite pleased",
    "five stars from me ⭐", "never again", "the manual is in French", "setup took 1½ days", "it is a bit naive",
    "the price dropped a day later", "I can't complain", "we use it every day", "the zip sticks", "it beats my old one",
)  # fmt: skip
_LINKS = (". ", ", and ", ". ", "; ", ". Still ", ", but ", ". ", " and ", ". Also ", ", so ", "... ", ". Then ")
_ENDINGS = (".", ".", ".", ".", ".", ".", ".", "", "", "", "", "", "!", "!", "!", "!!", " :)", " :(", "...", "…")


def make_csv(path: Path, rows: int, seed: int) -> None:
    """Write `rows` reviews as UTF-8 CSV, about 150 bytes a row: many need quotes, some are not ASCII, some span lines.

    Beside good rows there are, by the shares above: exact duplicates after normalisation (other case, other white
    space), texts that stand under two labels, rows without text or label, and rows with too many or too few fields.
    """
    random = np.random.default_rng(seed)
    openings, middles, ends = _openings(random), _middles(random), _ends(random)
    # Kept as they are written: quoted where they must be.
    remembered: list[tuple[str, int]] = []
    with path.open("wb") as stream:
        stream.write(",".join(HEADER).encode() + b"\n")
        for start in range(0, rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, rows - start)
            picks = random.integers(0, _PIECES, (4, count)).tolist()
            fields = list(map("".join, zip(*map(_taken, (openings, *middles, ends), picks), strict=True)))
            fields = [f'"{field}"' if "," in field or '"' in field or "\n" in field else field for field in fields]
            # What a review is about follows from how it opens, so that texts that meet by chance agree in their label.
            labels = [pick % len(LABELS) for pick in picks[0]]
            _remember(remembered, fields, labels, random)
            _repeat_some(fields, labels, remembered, random)
            sources = random.integers(0, len(SOURCES), count).tolist()
            lines = [
                f"r{row:08d},{field},{LABELS[label]},{SOURCES[source]}\n"
                for row, field, label, source in zip(itertools.count(start), fields, labels, sources)
            ]
            _spoil_some(lines, fields, start, random)
            stream.write("".join(lines).encode())


def good_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a reviews file that have as many fields as the header."""
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream)
        header = next(reader)
        for fields in reader:
            if len(fields) == len(header):
                yield dict(zip(header, fields, strict=True))


def make_parquet(source: Path, path: Path) -> None:
    """Write the good rows of a reviews file as Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column, pa.string()) for column in HEADER])
    with pq.ParquetWriter(path, schema) as writer:
        rows = good_rows(source)
        while block := list(itertools.islice(rows, _BLOCK_ROWS)):
            writer.write_table(pa.Table.from_pylist(block, schema))


def make_jsonl_gz(source: Path, path: Path) -> None:
    """Write the good rows of a reviews file as gzipped JSONL."""
    with gzip.open(path, "wt", compresslevel=6, encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in good_rows(source))


def _openings(random: np.random.Generator) -> list[str]:
    """First pieces, all distinct: 'The jacket A-4711 arrived'."""
    numbers = random.permutation(_PIECES).tolist()
    parts = zip(*(_drawn(words, random) for words in (_OPENINGS, _THINGS, _EVENTS)), strict=True)
    return [
        f"{opening} {thing} {chr(65 + number % 26)}-{number} {event}"
        for number, (opening, thing, event) in zip(numbers, parts, strict=True)
    ]


def _middles(random: np.random.Generator) -> list[list[str]]:
    """Second and third pieces; some are empty, so that texts differ in length."""
    lists = []
    for share in _MIDDLE_SHARES:
        parts = zip(*(_drawn(words, random) for words in (_LINKS, _OPENINGS, _THINGS, _EVENTS, _TIMES)), strict=True)
        there = (random.random(_PIECES) < share).tolist()
        lists.append(
            [
                f"{link}{opening.lower()} {thing} {event} {time}" if kept else ""
                for kept, (link, opening, thing, event, time) in zip(there, parts, strict=True)
            ]
        )
    return lists


def _ends(random: np.random.Generator) -> list[str]:
    """Last pieces: an opinion, its quotes doubled for CSV."""
    breaks = (random.random(_PIECES) < _LINE_BREAKS).tolist()
    days = random.integers(1, 1000, _PIECES).tolist()
    parts = zip(*(_drawn(words, random) for words in (_LINKS, _OPINIONS, _ENDINGS)), strict=True)
    return [
        ("\n" if broken else link) + opinion.replace('"', '""') + f" ({day} days)"[: 11 * (day % 2)] + ending
        for broken, day, (link, opinion, ending) in zip(breaks, days, parts, strict=True)
    ]


def _drawn(words: tuple[str, ...], random: np.random.Generator) -> list[str]:
    return _taken(words, random.integers(0, len(words), _PIECES).tolist())


def _taken(items: Sequence[str], places: list[int]) -> list[str]:
    return [items[place] for place in places]


def _repeat_some(
    fields: list[str], labels: list[int], remembered: list[tuple[str, int]], random: np.random.Generator
) -> None:
    """Put other rows' texts in the place of some, in other case or white space; a few under another label."""
    draws = random.random(len(fields))
    (places,) = np.nonzero(draws < DUPLICATES + CONFLICTS)
    for place, which, form in zip(
        places.tolist(),
        random.integers(0, len(remembered), len(places)).tolist(),
        random.integers(0, 4, len(places)).tolist(),
        strict=True,
    ):
        field, label = remembered[which]
        fields[place] = (field, field.upper(), field.replace(" ", "  "), field.replace(" ", "\u00a0"))[form]
        labels[place] = (label + 1) % len(LABELS) if draws[place] >= DUPLICATES else label


def _remember(
    remembered: list[tuple[str, int]], fields: list[str], labels: list[int], random: np.random.Generator
) -> None:
    """Keep some rows for this block and later ones to repeat."""
    for place in random.integers(0, len(fields), min(len(fields), _REMEMBERED_ROWS // 10)).tolist():
        item = (fields[place], labels[place])
        if len(remembered) < _REMEMBERED_ROWS:
            remembered.append(item)
        else:
            remembered[int(random.integers(0, _REMEMBERED_ROWS))] = item


def _spoil_some(lines: list[str], fields: list[str], start: int, random: np.random.Generator) -> None:
    """Put bad rows in the place of some."""
    draws = random.random(len(lines))
    bounds = np.cumsum((EMPTY_TEXTS, MISSING_LABELS, TOO_MANY_FIELDS, TOO_FEW_FIELDS))
    kinds = np.searchsorted(bounds, draws, side="right")
    (places,) = np.nonzero(kinds < len(bounds))
    for place in places.tolist():
        row_id, field = f"r{start + place:08d}", fields[place]
        lines[place] = (
            f"{row_id}, ,{LABELS[place % len(LABELS)]},{SOURCES[0]}\n",
            f"{row_id},{field},,{SOURCES[0]}\n",
            f"{row_id},{field},{LABELS[0]},{SOURCES[0]},and more\n",
            f"{row_id},{field}\n",
        )[kinds[place]]
