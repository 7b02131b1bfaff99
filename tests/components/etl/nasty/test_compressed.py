"""Compressed files: cut short, joined, damaged, or not what their name says."""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

PLAIN = b"text,label\none,x\ntwo,y\n"
KEPT = {"one": "x", "two": "y"}
MANY = b"text,label\n" + b"".join(
    b"row number %d of many,x\nrow number %d once more,y\n" % (n, n) for n in range(2_000)
)


def zstd(content: bytes) -> bytes:
    """One frame that says its size and its checksum; of several, a reader that trusts the size sees the first alone."""
    import zstandard

    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def streamed_zstd(content: bytes) -> bytes:
    """One frame that says neither, as a pipe gives."""
    import zstandard

    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(content) + stream.flush()


def with_wrong_checksum(member: bytes) -> bytes:
    """A gzip member whose content is not what its end says."""
    return member[:-8] + struct.pack("<I", zlib.crc32(b"other")) + member[-4:]


def zipped(content: bytes) -> bytes:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("a.csv", content)
    return archive.getvalue()


CASES: dict[str, dict[str, Any]] = {
    # --- gzip
    "gz": {"files": {"a.csv.gz": gzip.compress(PLAIN)}, "rows": {"a.csv.gz": 2}, "kept": KEPT},
    "gz_of_every_kind_beside_plain_files": {
        "files": {
            "a.csv.gz": gzip.compress(PLAIN),
            "b.jsonl.gz": gzip.compress(b'{"text":"three","label":"x"}\n{"text":"","label":"x"}'),
            "c.json.gz": gzip.compress(b'[{"text":"four","label":"y"}]'),
            "d.tsv.GZ": gzip.compress(b"text\tlabel\nfive\tx\n"),
            "e.csv": b"text,label\nsix,y\n",
        },
        "rows": {"a.csv.gz": 2, "b.jsonl.gz": 2, "c.json.gz": 1, "d.tsv.GZ": 1, "e.csv": 1},
        "kept": KEPT | {"three": "x", "four": "y", "five": "x", "six": "y"},
        "quarantined": [("b.jsonl.gz", 2, "empty_text", {"text": "", "label": "x"})],
    },
    # A copy that was cut short: at its end, in the middle, and within its header.
    "gz_without_its_end": {
        "files": {"a.csv.gz": gzip.compress(PLAIN)[:-6]},
        "error": ("a.csv.gz",),
    },
    "gz_cut_in_the_middle": {
        "files": {"a.csv.gz": lambda: (lambda whole: whole[: len(whole) // 2])(gzip.compress(MANY))},
        "error": ("a.csv.gz",),
        "command": True,
    },
    "gz_cut_in_its_header": {"files": {"a.csv.gz": gzip.compress(PLAIN)[:5]}, "error": ("a.csv.gz",)},
    "gz_of_nothing": {"files": {"a.csv.gz": gzip.compress(b"")}, "error": ("a.csv.gz is empty",)},
    "gz_of_no_bytes": {"files": {"a.csv.gz": b""}, "error": ("a.csv.gz",)},
    # What follows the member may be rows that someone appended.
    "gz_with_garbage_after_it": {
        "files": {"a.csv.gz": gzip.compress(PLAIN) + b"three,x\n"},
        "error": ("a.csv.gz",),
    },
    # Tapes and block devices pad with zeros; no row can stand in them.
    "gz_padded_with_zeros": {
        "files": {"a.csv.gz": gzip.compress(PLAIN) + b"\0" * 512},
        "rows": {"a.csv.gz": 2},
        "kept": KEPT,
    },
    # As log rotation and parallel compressors join them, here in the middle of a row and of a character.
    "gz_of_two_members": {
        "files": {"a.csv.gz": gzip.compress(b"text,label\none,x\ncaf\xc3") + gzip.compress(b"\xa9,y\n")},
        "rows": {"a.csv.gz": 2},
        "kept": {"one": "x", "café": "y"},
    },
    "gz_of_an_empty_member_between_two": {
        "files": {"a.csv.gz": gzip.compress(PLAIN) + gzip.compress(b"") + gzip.compress(b"three,x\n")},
        "rows": {"a.csv.gz": 3},
        "kept": KEPT | {"three": "x"},
    },
    "gz_with_a_wrong_checksum": {
        "files": {"a.csv.gz": with_wrong_checksum(gzip.compress(PLAIN))},
        "error": ("a.csv.gz",),
    },
    "gz_with_changed_bytes": {
        "files": {"a.csv.gz": lambda: (lambda whole: whole[:3000] + b"\xff" * 40 + whole[3040:])(gzip.compress(MANY))},
        "error": ("a.csv.gz",),
    },
    # A browser or a bucket unpacked it on the way and kept its name.
    "plain_text_named_gz": {"files": {"a.csv.gz": PLAIN}, "error": ("a.csv.gz",), "command": True},
    # The other way round: the name lost its ending.
    "gz_named_csv": {"files": {"a.csv": gzip.compress(PLAIN)}, "error": ("a.csv",)},
    "gz_named_jsonl": {"files": {"a.jsonl": gzip.compress(b'{"text":"one","label":"x"}')}, "error": ("a.jsonl",)},
    "gz_twice": {"files": {"a.csv.gz": gzip.compress(gzip.compress(PLAIN))}, "error": ("a.csv.gz",)},
    "gz_without_a_kind": {"files": {"data.gz": gzip.compress(PLAIN)}, "error": ("data.gz", ".csv")},
    "gz_without_a_kind_when_it_is_said": {
        "files": {"data.gz": gzip.compress(PLAIN)},
        "options": {"source_format": "csv"},
        "rows": {"data.gz": 2},
        "kept": KEPT,
    },
    "gz_of_latin_1": {
        "files": {"a.csv.gz": gzip.compress("text,label\ncafé,x\none,x\ntwo,y\n".encode("latin-1"))},
        "rows": {"a.csv.gz": 3},
        "kept": KEPT,
        "quarantined": [("a.csv.gz", 2, "bad_encoding", "caf\\xe9,x")],
    },
    # --- Zstandard
    "zst": {"files": {"a.csv.zst": lambda: zstd(PLAIN)}, "rows": {"a.csv.zst": 2}, "kept": KEPT},
    "zst_as_a_stream": {"files": {"a.csv.zst": lambda: streamed_zstd(PLAIN)}, "rows": {"a.csv.zst": 2}, "kept": KEPT},
    # Frames may follow each other, of either form, in the middle of a row.
    "zst_of_several_frames": {
        "files": {"a.csv.zst": lambda: zstd(PLAIN + b"thr") + streamed_zstd(b"ee,x\n") + zstd(b"four,y\n,x\n")},
        "rows": {"a.csv.zst": 5},
        "kept": KEPT | {"three": "x", "four": "y"},
        "quarantined": [("a.csv.zst", 6, "empty_text", {"text": "", "label": "x"})],
    },
    # Frames that hold no content but a user's own notes.
    "zst_with_skippable_frames": {
        "files": {"a.csv.zst": lambda: (skip := b"\x50\x2a\x4d\x18\x04\0\0\0note") + zstd(PLAIN) + skip},
        "rows": {"a.csv.zst": 2},
        "kept": KEPT,
    },
    "zst_cut_short": {
        "files": {"a.csv.zst": lambda: streamed_zstd(MANY)[:-20]},
        "error": ("a.csv.zst",),
    },
    "zst_cut_between_two_frames": {
        "files": {"a.csv.zst": lambda: zstd(PLAIN) + zstd(b"three,x\n")[:3]},
        "error": ("a.csv.zst",),
    },
    "zst_with_garbage_after_it": {"files": {"a.csv.zst": lambda: zstd(PLAIN) + b"three,x\n"}, "error": ("a.csv.zst",)},
    "zst_with_changed_bytes": {
        "files": {"a.csv.zst": lambda: (lambda whole: whole[:300] + b"\xff" * 40 + whole[340:])(zstd(MANY))},
        "error": ("a.csv.zst",),
    },
    "zst_of_nothing": {"files": {"a.csv.zst": lambda: streamed_zstd(b"")}, "error": ("a.csv.zst is empty",)},
    "plain_text_named_zst": {"files": {"a.csv.zst": PLAIN}, "error": ("a.csv.zst",)},
    "zst_named_csv": {"files": {"a.csv": lambda: zstd(PLAIN)}, "error": ("a.csv",)},
    "gz_named_zst": {"files": {"a.csv.zst": gzip.compress(PLAIN)}, "error": ("a.csv.zst",)},
    # --- Others
    "zip": {"files": {"a.zip": zipped(PLAIN)}, "error": ("a.zip", ".csv")},
    "zip_named_csv": {"files": {"a.csv": zipped(PLAIN)}, "error": ("a.csv",)},
    "bz2": {"files": {"a.csv.bz2": b"BZh9"}, "error": ("a.csv.bz2", ".gz")},
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_has_its_fate(name: str, check: Callable[..., None]) -> None:
    check(CASES[name])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.get("command")])
def test_the_command_refuses_in_one_line(name: str, command_refuses: Callable[..., None]) -> None:
    command_refuses(CASES[name])
