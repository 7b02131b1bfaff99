"""Archives that nobody may upload: each is refused with one line, and nothing is written that stays."""

import gzip
import io
import json
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tunelane_serving.package import MANIFEST, package_digest, verify
from tunelane_serving.problems import BadPackage
from tunelane_serving.repository.archives import unpack

Files = dict[str, bytes]
Pack = Callable[[Files], bytes]

_MAX_BYTES = 64 << 20
_ZIP_ENTRY, _ZIP_DIRECTORY, _ZIP_END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


@pytest.fixture(scope="session")
def files(package: Path) -> Files:
    """Give a package's files by path."""
    return {
        path.relative_to(package).as_posix(): path.read_bytes() for path in sorted(package.rglob("*")) if path.is_file()
    }


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """Give a directory with something beside it that an archive may aim at."""
    (tmp_path / "victim").write_text("as it was")
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "other").mkdir()
    (tmp_path / "uploads" / "other" / "victim").write_text("as it was")
    return tmp_path / "uploads"


def _snapshot(root: Path) -> dict[str, object]:
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_nlink, path.read_bytes() if path.is_file() else None)
        for path in root.rglob("*")
    }


def _refused(content: bytes, room: Path, *, max_bytes: int = _MAX_BYTES) -> str:
    """Unpack it; give what was said. Nothing around may have changed."""
    archive = room / "archive"
    archive.write_bytes(content)
    before = _snapshot(room.parent)
    with pytest.raises(BadPackage) as caught:
        unpack(archive, room / "target", max_unpacked_bytes=max_bytes, max_files=20)
    assert _snapshot(room.parent) == before
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) <= 400
    assert str(room) not in said
    return said


def _tar_member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def _tar(files: Files, *more: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in files.items():
            archive.addfile(_tar_member(name, content), io.BytesIO(content))
        for member, content in more:
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _tar_gz(files: Files) -> bytes:
    return gzip.compress(_tar(files), mtime=0)


def _zip(files: Files, *more: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        for member, content in more:
            archive.writestr(member, content)
    return target.getvalue()


def _zip_member(name: str, mode: int = 0) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo("placeholder")
    # Set afterwards: the constructor would mend it.
    member.filename = name
    member.external_attr = mode << 16
    return member


def _raw_tar(*blocks: bytes) -> bytes:
    return b"".join(blocks) + bytes(1024)


def _header(name: str, size: int = 0, kind: bytes = b"0", **fields: Any) -> bytes:
    member = _tar_member(name, kind=kind, **fields)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def _pax(records: bytes, kind: bytes = b"x") -> bytes:
    return _header("pax", len(records), kind) + _padded(records)


def _with_field(header: bytes, place: int, value: bytes) -> bytes:
    """Change a header and mend its checksum."""
    changed = bytearray(header)
    changed[place : place + len(value)] = value
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def _patched(content: bytes, magic: bytes, offset: int, value: bytes, *, last: bool = False) -> bytes:
    """Overwrite bytes of the first (or last) zip structure of a kind."""
    place = (content.rindex(magic) if last else content.index(magic)) + offset
    return content[:place] + value + content[place + len(value) :]


def _without(files: Files, name: str) -> Files:
    return {other: content for other, content in files.items() if other != name}


def _manifest(files: Files, change: Callable[[dict[str, Any]], object]) -> Files:
    """Change the manifest."""
    manifest = json.loads(files[MANIFEST])
    change(manifest)
    return files | {MANIFEST: json.dumps(manifest).encode()}


def _with_file(files: Files, name: str, content: bytes = b"x") -> Files:
    """Add a file that the manifest lists, too."""
    import hashlib

    listed = {"path": name, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    return _manifest(files, lambda manifest: manifest["files"].append(listed)) | {name: content}


_BAD_NAMES = {
    "absolute": "/tmp/tunelane-escaped",  # noqa: S108
    "up": "../escaped",
    "up, later": "onnx/../../escaped",
    "up, on another system": "..\\escaped",
    "backslash": "onnx\\escaped",
    "drive": "C:escaped",
    "drive with a path": "c:/escaped",
    "share": "//host/escaped",
    "dot within": "onnx/./escaped",
    "two slashes": "onnx//escaped",
    "only dots": "..",
    "line feed": "es\ncaped",
    "escape": "es\x1b[2Jcaped",
    "right to left": "es\u202ecaped",
    "part too long": "e" * 256,
    "too long": "/".join(["e" * 200] * 10),
    "case": "Tokenizer.json",
    "case of a folder": "ONNX/escaped",
    "width": "\uff54okenizer.json",
    "below a file": "tokenizer.json/escaped",
    "a file and a folder": "onnx",
}


@pytest.mark.parametrize("pack", [_tar, _tar_gz, _zip])
@pytest.mark.parametrize("name", _BAD_NAMES.values(), ids=_BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(files: Files, room: Path, pack: Pack, name: str) -> None:
    _refused(pack(files | {name: b"escaped"}), room)
    # Nor as the only thing there is.
    _refused(pack({name: b"escaped"}), room)


def test_a_name_with_a_nul_is_refused(files: Files, room: Path) -> None:
    content = _zip(files | {"es_caped": b"x"}).replace(b"es_caped", b"es\0caped")
    assert "plain slashes" in _refused(content, room)
    _refused(_tar(files, (_tar_member("x", pax_headers={"path": "es\0caped"}), b""), form=tarfile.PAX_FORMAT), room)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (tarfile.SYMTYPE, {"linkname": "../victim"}),
        (tarfile.SYMTYPE, {"linkname": "tokenizer.json"}),
        (tarfile.LNKTYPE, {"linkname": "../victim"}),
        (tarfile.LNKTYPE, {"linkname": "tokenizer.json"}),
        (tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}),
        (tarfile.BLKTYPE, {"devmajor": 1, "devminor": 3}),
        (tarfile.FIFOTYPE, {}),
        (tarfile.CONTTYPE, {}),
        (tarfile.GNUTYPE_SPARSE, {}),
        (tarfile.GNUTYPE_LONGLINK, {}),
        (b"V", {}),
        (b"M", {}),
        (b"D", {}),
        (b"?", {}),
    ],
)
def test_what_is_no_regular_file_is_refused(files: Files, room: Path, kind: bytes, fields: dict[str, Any]) -> None:
    for more in (files, {}):
        said = _refused(_tar(more, (_tar_member("escaped", kind=kind, **fields), b"")), room)
        assert "a package has regular files alone" in said


def test_a_file_is_not_written_through_a_link(files: Files, room: Path) -> None:
    link = _tar_member("link", kind=tarfile.SYMTYPE, linkname="..")
    _refused(_tar({}, (link, b""), (_tar_member("link/victim", b"changed"), b"changed")), room)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_what_is_no_regular_file_in_a_zip_is_refused(files: Files, room: Path, kind: int) -> None:
    said = _refused(_zip(files, (_zip_member("escaped", kind | 0o777), b"../victim")), room)
    assert "a link or a device" in said


@pytest.mark.parametrize("pack", [_tar, _zip])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(files: Files, room: Path, pack: Callable[..., bytes]) -> None:
    member = _tar_member if pack is _tar else _zip_member
    again = member("tokenizer.json")
    if isinstance(again, tarfile.TarInfo):
        again.size = 1
    assert "twice" in _refused(pack(files, (again, b"x")), room)
    dotted = member("./tokenizer.json")
    if isinstance(dotted, tarfile.TarInfo):
        dotted.size = 1
    assert "twice" in _refused(pack(files, (dotted, b"x")), room)


def _bad_tars(files: Files) -> dict[str, bytes]:
    good = _tar(files)
    packed = _tar_gz(files)
    first_size = len(next(iter(files.values())))
    manifest = _header(MANIFEST, 1)
    return {
        "nothing": b"",
        "text": b"This is no archive." * 100,
        "only zeros": bytes(10240),
        "cut off in a header": good[:100],
        "cut off in a file": good[: 512 + first_size // 2],
        "cut off before the end": good.rstrip(b"\0"),
        "one block of zeros": good.rstrip(b"\0") + bytes(-len(good.rstrip(b"\0")) % 512) + bytes(512),
        "junk behind the end": good + b"junk",
        "another archive behind the end": good + good,
        "zeros without end": good + bytes(2 << 20),
        "gzip cut off": packed[:-20],
        "gzip without its checksum": packed[:-8],
        "gzip with a wrong checksum": packed[:-8] + b"\0\0\0\0" + packed[-4:],
        "gzip with a wrong length": packed[:-1] + b"\x7f",
        "gzip damaged": packed[:40] + bytes(8) + packed[48:],
        "gzip and junk": packed + b"junk",
        "gzip twice": packed + packed,
        "gzip in gzip": gzip.compress(packed),
        "gzip of a zip": gzip.compress(_zip(files)),
        "gzip of nothing": gzip.compress(b""),
        "wrong checksum": good[:150] + b"1" + good[151:],
        "size that is no number": _raw_tar(_with_field(manifest, 124, b"zzzzzzzzzzz\0"), bytes(512)),
        "negative size": _raw_tar(_with_field(manifest, 124, b"-0000000001\0"), bytes(512)),
        "size in base 256": _raw_tar(_with_field(manifest, 124, b"\x80" + bytes(10) + b"\1"), bytes(512)),
        "size beyond the end": _raw_tar(_header(MANIFEST, 1 << 30)),
        "directory with content": _raw_tar(_header("onnx/", 5, b"5"), _padded(b"12345")),
        "no ustar": _raw_tar(_with_field(manifest, 257, bytes(8)), bytes(512)),
        "name that is not UTF-8": _raw_tar(_with_field(manifest, 0, b"\xff\xfe"), bytes(512)),
        "long name too long": _raw_tar(_header("L", 1 << 30, b"L")),
        "long name of 60 kB": _raw_tar(_header("L", 60_000, b"L"), _padded(b"a" * 60_000), manifest, bytes(512)),
        "two long names": _raw_tar(*[_header("L", 5, b"L"), _padded(b"name\0")] * 2, manifest, bytes(512)),
        "long name of nothing": good.rstrip(b"\0")
        + bytes(-len(good.rstrip(b"\0")) % 512)
        + _raw_tar(_header("L", 5, b"L"), _padded(b"name\0")),
        "pax too long": _raw_tar(_header("x", 1 << 30, b"x")),
        "pax and no end": _raw_tar(*[_pax(b"13 comment=a\n")] * 1000),
        "pax that breaks off": _raw_tar(_pax(b"99 path=escaped\n"), manifest, bytes(512)),
        "pax with a negative length": _raw_tar(_pax(b"-5 path=escaped\n"), manifest, bytes(512)),
        "pax with an unusual digit": _raw_tar(_pax("\u00b26 path=a\n".encode()), manifest, bytes(512)),
        "pax with length 0": _raw_tar(_pax(b"0 path=a\n"), manifest, bytes(512)),
        "pax without a value": _raw_tar(_pax(b"7 path\n"), manifest, bytes(512)),
        "pax of a size": _raw_tar(_pax(b"10 size=9\n"), manifest, bytes(512)),
        "pax of a link": _raw_tar(_pax(b"22 linkpath=../victim\n"), manifest, bytes(512)),
        "pax of a sparse file": _raw_tar(_pax(b"22 GNU.sparse.major=1\n"), manifest, bytes(512)),
        "pax of another charset": _raw_tar(_pax(b"21 hdrcharset=BINARY\n"), manifest, bytes(512)),
        "pax of two names": _raw_tar(_pax(b"10 path=a\n10 path=b\n"), manifest, bytes(512)),
        "pax that leads up": _raw_tar(_pax(b"16 path=../evil\n"), manifest, bytes(512)),
        "pax that leads to the root": _raw_tar(_pax(b"14 path=/evil\n"), manifest, bytes(512)),
        "pax of a name for all": _raw_tar(_pax(b"10 path=a\n", b"g"), manifest, bytes(512)),
    }


def _bad_zips(files: Files) -> dict[str, bytes]:
    good = _zip(files)
    first = next(iter(files))
    entry_name = 30 + len(first)
    directory_start = good.index(_ZIP_DIRECTORY)
    end_start = good.index(_ZIP_END)
    # An entry's CRC stands at 14, in the directory at 16; sizes follow, packed first.
    zip64 = io.BytesIO()
    with zipfile.ZipFile(zip64, "w") as archive:
        for name, content in files.items():
            with archive.open(name, "w", force_zip64=True) as target:
                target.write(content)
    bzip2 = io.BytesIO()
    with zipfile.ZipFile(bzip2, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    commented = io.BytesIO()
    with zipfile.ZipFile(commented, "w") as archive:
        archive.comment = b"PK\x05\x06 is where the end is said to be"
        for name, content in files.items():
            archive.writestr(name, content)

    def shifted(content: bytes, by: int) -> bytes:
        """Put bytes before the directory and say so at the end."""
        start = struct.pack("<I", directory_start + by)
        return content[:directory_start] + bytes(by) + content[directory_start : end_start + 16] + start + good[-2:]

    return {
        "only an end": good[end_start:],
        "cut off": good[:-10],
        "cut off in the directory": good[: directory_start + 20],
        "no directory": good[:directory_start],
        "junk before": b"junk" + good,
        "junk behind": good + b"junk",
        "two archives": good + good,
        "comment": commented.getvalue(),
        "gap before the directory": shifted(good, 4),
        "several disks": _patched(good, _ZIP_END, 4, b"\1"),
        "count too small": _patched(good, _ZIP_END, 8, b"\1\0\1\0"),
        "count too large": _patched(good, _ZIP_END, 8, b"\x09\0\x09\0"),
        "count of 65535": _patched(good, _ZIP_END, 8, b"\xff\xff\xff\xff"),
        "directory too large": _patched(good, _ZIP_END, 12, b"\xff\xff\xff\x7f"),
        "directory elsewhere": _patched(good, _ZIP_END, 16, b"\0\0\0\0"),
        "directory of 4 GiB": _patched(good, _ZIP_END, 12, b"\xff" * 8),
        "encrypted": _patched(_patched(good, _ZIP_ENTRY, 6, b"\1"), _ZIP_DIRECTORY, 8, b"\1"),
        "encrypted, says the directory": _patched(good, _ZIP_DIRECTORY, 8, b"\1"),
        "encrypted, says the entry": _patched(good, _ZIP_ENTRY, 6, b"\1"),
        "strongly encrypted": _patched(_patched(good, _ZIP_ENTRY, 6, b"\x41"), _ZIP_DIRECTORY, 8, b"\x41"),
        "names encrypted": _patched(_patched(good, _ZIP_ENTRY, 7, b"\x20"), _ZIP_DIRECTORY, 9, b"\x20"),
        "other names": _patched(good, _ZIP_ENTRY, 30, b"M"),
        "other names in the directory": _patched(good, _ZIP_DIRECTORY, 46, b"M"),
        "other methods": _patched(good, _ZIP_ENTRY, 8, b"\0"),
        "other CRCs": _patched(good, _ZIP_ENTRY, 14, b"\0\0\0\0"),
        "other packed sizes": _patched(good, _ZIP_ENTRY, 18, b"\1\0\0\0"),
        "other sizes": _patched(good, _ZIP_ENTRY, 22, b"\1\0\0\0"),
        "wrong CRC": _patched(_patched(good, _ZIP_ENTRY, 14, bytes(4)), _ZIP_DIRECTORY, 16, bytes(4)),
        "size too small": _patched(_patched(good, _ZIP_ENTRY, 22, b"\1\0\0\0"), _ZIP_DIRECTORY, 24, b"\1\0\0\0"),
        "size too large": _patched(_patched(good, _ZIP_ENTRY, 24, b"\x7f"), _ZIP_DIRECTORY, 26, b"\x7f"),
        "descriptor that is not there": _patched(_patched(good, _ZIP_ENTRY, 6, b"\x08"), _ZIP_DIRECTORY, 8, b"\x08"),
        "entries that overlap": _patched(good, _ZIP_DIRECTORY, 42, b"\0\0\0\0", last=True),
        "entry in the directory": _patched(good, _ZIP_DIRECTORY, 42, struct.pack("<I", directory_start), last=True),
        "entry beyond the end": _patched(good, _ZIP_DIRECTORY, 42, b"\xfe\xff\xff\xff", last=True),
        "damaged content": good[: entry_name + 20] + b"\0\xff\0\xff" + good[entry_name + 24 :],
        "method that nobody knows": _patched(_patched(good, _ZIP_ENTRY, 8, b"\x63"), _ZIP_DIRECTORY, 10, b"\x63"),
        "bzip2": bzip2.getvalue(),
        "zip64": zip64.getvalue(),
        "zip64 in the directory alone": _patched(good, _ZIP_DIRECTORY, 20, b"\xff" * 8),
        "names that are not UTF-8": _patched(
            _patched(
                _patched(_patched(good, _ZIP_ENTRY, 30, b"\xff"), _ZIP_DIRECTORY, 46, b"\xff"), _ZIP_ENTRY, 7, b"\x08"
            ),
            _ZIP_DIRECTORY,
            9,
            b"\x08",
        ),
        "names of an old code page": _patched(_patched(good, _ZIP_ENTRY, 30, b"\x81"), _ZIP_DIRECTORY, 46, b"\x81"),
    }


def _bad_packages(files: Files) -> dict[str, Files]:
    weights = "onnx/model.onnx"
    flipped = files[weights][:-1] + bytes([files[weights][-1] ^ 1])
    manifest = files[MANIFEST]
    return {
        "no files": {},
        "no manifest": _without(files, MANIFEST),
        "empty manifest": files | {MANIFEST: b""},
        "manifest that is no JSON": files | {MANIFEST: b"{'framework': 'onnx'}"},
        "manifest that is not UTF-8": files | {MANIFEST: b"\xff\xfe{}"},
        "manifest nested without end": files | {MANIFEST: b"[" * 100_000},
        "manifest cut off": files | {MANIFEST: manifest[: len(manifest) // 2]},
        "manifest that is a list": files | {MANIFEST: b"[]"},
        "manifest of a newer release": _manifest(files, lambda content: content.update(version=2)),
        "manifest with an unknown field": _manifest(files, lambda content: content.update(run="rm -rf /")),
        "manifest of another framework": _manifest(files, lambda content: content.update(framework="pickle")),
        "manifest that leads up": _manifest(files, lambda content: content["files"][0].update(path="../../victim")),
        "manifest that leads to the root": _manifest(
            files, lambda content: content["files"][0].update(path="/etc/passwd")
        ),
        "manifest with a NUL": _manifest(
            _without(files, "tokenizer.json"), lambda content: content["files"][-1].update(path="a\0b")
        ),
        "manifest with a long name": _manifest(
            _without(files, "tokenizer.json"), lambda content: content["files"][-1].update(path="a" * 5000)
        ),
        "manifest with half a character": files | {MANIFEST: manifest.replace(b'"fp32"', b'"\\ud800"', 1)},
        "manifest with a line feed": _manifest(
            _without(files, "tokenizer.json"), lambda content: content["files"][-1].update(path="a\nb")
        ),
        "manifest of 17 MB": files | {MANIFEST: manifest + os.urandom(17 << 19).hex().encode()},
        "manifest in two places": {f"a/{name}": content for name, content in files.items()}
        | {f"b/{name}": content for name, content in files.items()},
        "manifest two folders down": {f"a/b/{name}": content for name, content in files.items()},
        "manifest that is a folder": _without(files, MANIFEST) | {f"{MANIFEST}/a": b""},
        "file that is missing": _without(files, weights),
        "file that is empty": files | {weights: b""},
        "file that is longer": files | {weights: files[weights] + b"\0"},
        "file with one bit changed": files | {weights: flipped},
        "file that is not listed": files | {"onnx/more.onnx": b""},
        "pickle that is not listed": files | {"model.pkl": b"cos\nsystem\n(S'true'\ntR."},
        "hidden file": files | {".profile": b""},
        "file beside the folder": {f"reviews/{name}": content for name, content in files.items()} | {"README": b""},
        "files exchanged": files | {weights: files["tokenizer.json"], "tokenizer.json": files[weights]},
        "too many files": files | {f"file-{number}": b"" for number in range(20)},
        "too many directories": files | {"/".join("abcdefghijklmnopqrstuvwxyz"): b""},
        "archive in the archive": {"package.zip": _zip(files)},
    }


def _named(packages: Iterable[str]) -> list[str]:
    return list(packages)


_PLACEHOLDER: Files = {
    MANIFEST: b'{"variants": ["fp32"], "files": [{}]}',
    "onnx/model.onnx": b"m",
    "tokenizer.json": b"t",
}


@pytest.mark.parametrize("case", _named(_bad_tars(dict.fromkeys(_PLACEHOLDER, b"x" * 600))))
def test_a_bad_tar_is_refused(files: Files, room: Path, case: str) -> None:
    _refused(_bad_tars(files)[case], room)


@pytest.mark.parametrize("case", _named(_bad_zips({name: bytes(range(256)) for name in _PLACEHOLDER})))
def test_a_bad_zip_is_refused(files: Files, room: Path, case: str) -> None:
    _refused(_bad_zips(files)[case], room)


@pytest.mark.parametrize("pack", [_tar_gz, _zip])
@pytest.mark.parametrize("case", _named(_bad_packages(_PLACEHOLDER)))
def test_an_archive_without_the_package_of_its_manifest_is_refused(
    files: Files, room: Path, pack: Pack, case: str
) -> None:
    _refused(pack(_bad_packages(files)[case]), room)


def test_a_bomb_is_refused_before_it_has_grown(files: Files, room: Path) -> None:
    bomb = files | {"bomb": bytes(48 << 20)}
    for pack in (_tar_gz, _zip):
        assert "100-fold" in _refused(pack(bomb), room)
        assert "more than 1048576 bytes" in _refused(pack(bomb), room, max_bytes=1 << 20)


def test_what_a_zip_says_of_a_files_size_is_not_believed(files: Files, room: Path) -> None:
    bomb = _zip({"bomb": bytes(8 << 20)})
    small = struct.pack("<I", 10)
    lie = _patched(_patched(bomb, _ZIP_ENTRY, 22, small), _ZIP_DIRECTORY, 24, small)
    assert "length or checksum" in _refused(lie, room)


def test_a_bomb_behind_the_end_is_not_unpacked(files: Files, room: Path) -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = compressor.compress(_tar(files))
    zeros = bytes(1 << 20)
    content += b"".join(compressor.compress(zeros) for _ in range(64)) + compressor.flush()
    assert "behind its end" in _refused(content, room)


def test_a_file_that_is_listed_may_have_any_plain_name(files: Files, room: Path) -> None:
    """The checks above refuse for what they say, not everything."""
    for name in ("assets/vocab.txt", "modèle.bin", "a b", "saved_model.pb", "x.tar", "C.onnx"):
        (room / "archive").write_bytes(_zip(_with_file(files, name)))
        unpack(room / "archive", room / "target", max_unpacked_bytes=_MAX_BYTES, max_files=20)
        assert (room / "target" / name).read_bytes() == b"x"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pack=st.sampled_from([_tar, _tar_gz, _zip]), data=st.data())
def test_a_changed_archive_is_refused_or_is_the_same_package(
    files: Files, package: Path, room: Path, pack: Pack, data: st.DataObject
) -> None:
    changed = bytearray(pack(files))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert", "repeat", "swap"])):
            case "change":
                changed[place] = data.draw(st.integers(0, 255))
            case "cut":
                del changed[place : place + data.draw(st.integers(1, 600))]
            case "insert":
                changed[place:place] = data.draw(st.binary(min_size=1, max_size=600))
            case "repeat":
                changed[place:place] = changed[place : place + 512]
            case _:
                other = data.draw(st.integers(0, len(changed) - 1))
                changed[place], changed[other] = changed[other], changed[place]
        if not changed:
            break
    _same_or_refused(bytes(changed), files, package, room, exactly=pack is not _tar)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=2000), start=st.sampled_from([b"", b"\x1f\x8b\x08", _ZIP_ENTRY, _header("a", 3)]))
@example(content=b"", start=b"\x1f\x8b")
@example(content=b"", start=b"\x1f\x8b\x08")
def test_random_bytes_are_refused(files: Files, package: Path, room: Path, content: bytes, start: bytes) -> None:
    _same_or_refused(start + content, files, package, room, exactly=True)


def _same_or_refused(content: bytes, files: Files, package: Path, room: Path, *, exactly: bool) -> None:
    archive, target = room / "archive", room / "target"
    archive.write_bytes(content)
    outside = _snapshot(room.parent)
    try:
        unpack(archive, target, max_unpacked_bytes=_MAX_BYTES, max_files=20)
    except BadPackage as refused:
        assert str(refused).isprintable()
    else:
        # A tar has no checksum of content: its manifest may read differently, and is another package then.
        verify(target, expected_digest=package_digest(package) if exactly else None)
        for name in files:
            assert exactly is False or (target / name).read_bytes() == files[name]
        for path in sorted(target.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        target.rmdir()
    assert _snapshot(room.parent) == outside
