"""Looking into an ONNX file before anything loads it.

A graph may name other files as its weights, which are then read from wherever the name points to, or ask for operators
that come as native code. Neither is served. The file is read here as protobuf's wire format, field by field, from a
memory map: weights are skipped, not copied.

Wire format: https://protobuf.dev/programming-guides/encoding/
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tunelane_serving.errors import ContractError

_DOMAINS = frozenset({b"", b"ai.onnx.ml", b"com.microsoft"})
# Protobuf's own limit for messages within messages.
_MAX_DEPTH = 100
# An encoder of 12 layers has some ten thousand; what needs more than this is made to take time.
_MAX_FIELDS = 10_000_000
# How many nodes a graph may become once its local functions are written out where they are called.
_MAX_EXPANDED_NODES = 1_000_000

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Function = tuple[bytes, bytes]

# Which fields of a message are messages, and of which kind; of a kind that has no entry nothing is looked at.
_PARTS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_GRAPH_OF_MODEL = 7
_EXTERNAL_DATA_OF_TENSOR, _DATA_LOCATION_OF_TENSOR, _EXTERNAL = 13, 14, 1
# What protobuf keeps of an enum's value.
_ENUM_BITS = 0xFFFFFFFF
_NAME_OF_TENSOR = 8
_TYPE_OF_NODE, _DOMAIN_OF_NODE = 4, 7
_NAME_OF_FUNCTION, _DOMAIN_OF_FUNCTION = 1, 10


def check_onnx_file(path: Path) -> None:
    """Refuse an ONNX file that is not all there is: weights in other files, or operators from elsewhere.

    Operators may be ONNX's own, those of ONNX Runtime (com.microsoft), or local functions of the same file made of
    such.

    Raises:
        ContractError: says what; also where the file is no ONNX model, or its functions never end.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _Reader(path, content).check()
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise ContractError(f"{path}: no ONNX model: the file is empty") from error


class _Reader:
    """One walk through a file. What it finds out of a node can be judged only once all functions are known."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self._fields = 0
        # What is called, by the function that calls it; the graphs themselves call as None.
        self._calls: dict[_Function | None, Counter[_Function]] = {None: Counter()}

    def check(self) -> None:
        if _GRAPH_OF_MODEL not in self._message("model", 0, len(self._content), 0, None):
            raise self._error("no ONNX model: it holds no graph")
        for calls in self._calls.values():
            for domain, name in calls:
                if domain not in _DOMAINS and (domain, name) not in self._calls:
                    raise self._error(
                        f"operator {_word(domain)}.{_word(name)} is neither ONNX's nor ONNX Runtime's; "
                        "export the model without custom operators"
                    )
        self._expanded()

    def _message(self, kind: str, start: int, end: int, depth: int, caller: _Function | None) -> set[int]:
        """Walk through one message; gives the numbers of the fields that are messages of a known kind."""
        if depth >= _MAX_DEPTH:
            raise self._error(f"no ONNX model: messages stand more than {_MAX_DEPTH} deep in one another")
        content, parts, found = self._content, _PARTS[kind], set[int]()
        if kind == "function":
            caller = self._named(start, end, _DOMAIN_OF_FUNCTION, _NAME_OF_FUNCTION)
            self._calls.setdefault(caller, Counter())
        elif kind == "node":
            self._calls[caller][self._named(start, end, _DOMAIN_OF_NODE, _TYPE_OF_NODE)] += 1
        for number, wire, value, value_end in self._fields_of(start, end):
            if wire == _BYTES and number in parts:
                found.add(number)
                self._message(parts[number], value, value_end, depth + 1, caller)
            elif kind == "tensor" and (
                (number == _EXTERNAL_DATA_OF_TENSOR and wire == _BYTES)
                or (number == _DATA_LOCATION_OF_TENSOR and wire == _VARINT and value & _ENUM_BITS == _EXTERNAL)
            ):
                name = b"".join(
                    content[at:at_end] for n, w, at, at_end in self._fields_of(start, end)
                    if n == _NAME_OF_TENSOR and w == _BYTES
                )  # fmt: skip
                raise self._error(
                    f"tensor {_word(name)} stands in another file; save the model with its weights inside"
                )
        return found

    def _named(self, start: int, end: int, domain_field: int, name_field: int) -> _Function:
        """Give domain and name of an operator or a function; as in protobuf, the last of several counts."""
        domain = name = b""
        for number, wire, value, value_end in self._fields_of(start, end):
            if wire == _BYTES and number == domain_field:
                domain = self._content[value:value_end]
            elif wire == _BYTES and number == name_field:
                name = self._content[value:value_end]
        # The two names of ONNX's own domain.
        return b"" if domain == b"ai.onnx" else domain, name

    def _fields_of(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Give each field's number, its wire type, and where its bytes begin and end (or a varint's value twice)."""
        at = start
        while at < end:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise self._error(f"no ONNX model to serve: it has more than {_MAX_FIELDS:,} fields")
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            # Protobuf keeps 32 bits of a tag: more of them would be another field's there.
            if not number or tag >> 32:
                raise self._malformed(at)
            if wire == _VARINT:
                value, at = self._varint(at, end)
                yield number, wire, value, value
                continue
            if wire == _BYTES:
                length, at = self._varint(at, end)
            elif wire == _FIXED64:
                length = 8
            elif wire == _FIXED32:
                length = 4
            else:  # groups, which ONNX has never had
                raise self._malformed(at)
            if length > end - at:
                raise self._malformed(at)
            yield number, wire, at, at + length
            at += length

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Give a varint's value and where it ends."""
        content, value = self._content, 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise self._malformed(at)

    def _expanded(self) -> None:
        """Refuse functions that call themselves, or that become too many nodes where they are written out."""
        sizes: dict[_Function | None, int] = {}
        open_calls: set[_Function | None] = set()
        waiting: list[_Function | None] = list(self._calls)
        while waiting:
            function = waiting[-1]
            if function in sizes:
                waiting.pop()
                continue
            callees = [callee for callee in self._calls[function] if callee in self._calls]
            missing = [callee for callee in callees if callee not in sizes]
            open_calls.add(function)
            if any(callee in open_calls for callee in missing):
                raise self._error(f"function {_word((function or (b'', b''))[1])} calls itself")
            waiting += missing
            if not missing:
                sizes[function] = sum(times * sizes.get(callee, 1) for callee, times in self._calls[function].items())
                if sizes[function] > _MAX_EXPANDED_NODES:
                    raise self._error(f"its functions become more than {_MAX_EXPANDED_NODES:,} nodes; inline them")
                open_calls.discard(function)

    def _malformed(self, at: int) -> ContractError:
        return self._error(f"no ONNX model: malformed protobuf at byte {at:,}")

    def _error(self, what: str) -> ContractError:
        return ContractError(f"{self._path}: {what}")


def _word(content: bytes) -> str:
    """Give a name from the file as something that fits into a line."""
    return repr(content[:80].decode("utf-8", "replace"))
