"""The page on troubleshooting has every message that a user can meet, as the code has it, and no other.

What the server answers has a code besides: of these the page has a table, and not every message.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunelane_serving.problems import Problem
from tunelane_serving.server import refusals

_ROOT = Path(__file__).parents[2]
_PAGE = _ROOT / "docs" / "troubleshooting.md"
_ENTRY = re.compile(r"^- (`+) ?(.+?) ?\1$", re.MULTILINE)
_BASE = "TunelaneError"
_REFUSALS = Path(refusals.__file__)
_ANSWERED_BY_HAND = re.compile(r'refusal\((\d+), "(\w+)"')


def _normal(message: str) -> str:
    """A message with … for what differs; quotes around that are `repr`'s and say nothing."""
    return re.sub("…+", "…", message.replace("'…'", "…"))


def _template(node: ast.expr) -> str | None:
    """The text of a string or an f-string with … for its values; None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for package in ("serving", "components", "pipelines"):
        for path in sorted((_ROOT / package).rglob("*.py")):
            yield path.relative_to(_ROOT), ast.parse(path.read_text())


def _error_classes(base: str) -> set[str]:
    """Names of `base` and of the classes that derive from it, by name: of two classes of one name either may."""
    bases: dict[str, set[str]] = {}
    for _, module in _modules():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                bases.setdefault(node.name, set()).update(map(ast.unparse, node.bases))
    errors = {base}
    while more := {name for name, of in bases.items() if of & errors} - errors:
        errors |= more
    return errors


def _raised() -> dict[str, str]:
    """Every message of an error of the project that has no code, to the place in the code that has it."""
    errors = _error_classes(_BASE) - _error_classes(Problem.__name__)
    return {
        _normal(message): f"{path}:{node.lineno}"
        for path, module in _modules()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in errors
        for argument in node.args
        if (message := _template(argument)) and re.search(r"\w{2}.*\w{2}", message.replace("…", ""))
    }


_QUOTED = [match[2] for match in _ENTRY.finditer(_PAGE.read_text())]


@pytest.fixture(scope="module")
def templates() -> set[str]:
    """Every text in the code."""
    found = (_template(node) for _, module in _modules() for node in ast.walk(module) if isinstance(node, ast.expr))
    return {_normal(text) for text in found if text}


@pytest.mark.parametrize("message", _QUOTED)
def test_a_quoted_message_stands_so_in_the_code(message: str, templates: set[str]) -> None:
    assert _normal(message) in templates


def test_every_message_of_the_code_is_on_the_page() -> None:
    quoted = {_normal(message) for message in _QUOTED}
    missing = [f"{place}: {message}" for message, place in _raised().items() if message not in quoted]
    assert missing == [], "docs/troubleshooting.md lacks:\n" + "\n".join(missing)


def test_every_code_of_the_server_is_in_the_table_with_its_status() -> None:
    written = re.findall(r"^\| `(\w+)` \| (\d+) \|(?: [^|]+\.? \|){2}$", _PAGE.read_text(), re.MULTILINE)
    assert len(written) == len(dict(written))
    kinds = {Problem}
    while more := {below for kind in kinds for below in kind.__subclasses__()} - kinds:
        kinds |= more
    # What the server says by itself, where no class does.
    by_hand = {(code, int(status)) for status, code in _ANSWERED_BY_HAND.findall(_REFUSALS.read_text())}
    assert by_hand
    assert {(code, int(status)) for code, status in written} == {(kind.code, kind.status) for kind in kinds} | by_hand


def test_every_message_says_why_or_what_to_do() -> None:
    for entry in re.split(r"^- (?=`)", _PAGE.read_text(), flags=re.MULTILINE)[1:]:
        message, said, *_ = entry.split("\n\n")
        assert said.startswith("  ") and said.rstrip().endswith("."), message


def test_no_message_stands_twice_in_a_section() -> None:
    for section in _PAGE.read_text().split("\n## ")[1:]:
        messages = [match[2] for match in _ENTRY.finditer(section)]
        assert sorted(messages) == sorted(set(messages))
