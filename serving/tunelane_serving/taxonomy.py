"""The label taxonomy: which labels there are, in order, and what they mean."""

from functools import cached_property
from typing import Literal

import msgspec

from tunelane_serving.contract import encode
from tunelane_serving.errors import DigestMismatch
from tunelane_serving.files import sha256_bytes


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One label.

    `aliases` are other spellings in the data that mean it; `parent` names the label above it. `keywords` are words and
    phrases of texts that speak for it: what the keyword rules go by when no model can be loaded.
    """

    name: str
    description: str = ""
    parent: str = ""
    aliases: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()


class Taxonomy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The labels of a task in order: order of the ONNX head, of scores and of reports.

    At least two labels; names and aliases are unique; a parent is a label of the same taxonomy and no label is its own
    ancestor.
    """

    labels: tuple[Label, ...]
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise ValueError("labels: a taxonomy needs at least two labels")
        spellings: set[str] = set()
        for position, label in enumerate(self.labels):
            for spelling in (label.name, *label.aliases):
                if not spelling.strip():
                    raise ValueError(f"labels[{position}]: a name or alias is empty")
                if spelling in spellings:
                    raise ValueError(f"labels[{position}]: {spelling!r} stands twice among names and aliases")
                spellings.add(spelling)
        parents = {label.name: label.parent for label in self.labels}
        for position, label in enumerate(self.labels):
            ancestor, seen = label.parent, {label.name}
            while ancestor:
                if ancestor not in parents:
                    raise ValueError(f"labels[{position}].parent: {ancestor!r} is not a label of this taxonomy")
                if ancestor in seen:
                    raise ValueError(f"labels[{position}].parent: {ancestor!r} is its own ancestor")
                seen.add(ancestor)
                ancestor = parents[ancestor]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Label names in order."""
        return tuple(label.name for label in self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON; it travels with every artifact."""
        return sha256_bytes(encode(self))

    @cached_property
    def name_by_spelling(self) -> dict[str, str]:
        """Every name and alias to the label's name."""
        return {spelling: label.name for label in self.labels for spelling in (label.name, *label.aliases)}

    @cached_property
    def with_ancestors(self) -> dict[str, tuple[str, ...]]:
        """Every name to itself and the labels above it; empty where no label has a parent."""
        parents = {label.name: label.parent for label in self.labels}
        if not any(parents.values()):
            return {}
        lines: dict[str, tuple[str, ...]] = {}
        for name in parents:
            line = [name]
            while parents[line[-1]]:
                line.append(parents[line[-1]])
            lines[name] = tuple(line)
        return lines

    @cached_property
    def groups(self) -> frozenset[str]:
        """The labels that have labels below them."""
        return frozenset(label.parent for label in self.labels if label.parent)

    def require_same(self, other_digest: str, *, mine: str, other: str) -> None:
        """Stop where two artifacts speak of different taxonomies.

        Raises:
            DigestMismatch: names both sides and both digests.
        """
        if other_digest != self.digest:
            raise DigestMismatch(
                f"taxonomies differ: {mine} has {self.digest[:12]}, {other} has {other_digest[:12]}; "
                "use one taxonomy for both, or another model name for another task"
            )
