"""The reduce step: what is kept of all candidates with one text, and the split of each text of a partition."""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from tunelane_components.etl.record import Record
from tunelane_components.etl.rows.candidates import Candidate, QuarantinedRow, row_of
from tunelane_components.etl.shuffle.plan import (
    REPEATED_IDS,
    Decisions,
    Plan,
    ids_name,
    near_name,
    part_name,
    spill_name,
)
from tunelane_components.etl.shuffle.workspace import Workspace
from tunelane_components.etl.split import SPLITS, Split, bounds_of_splits, rows_order

_decode = msgspec.msgpack.Decoder(list[Candidate]).decode
_encode_line = msgspec.json.Encoder(order="deterministic").encode
_by_digest = attrgetter("digest")
_DIGEST_BYTES = 32
_ID_BYTES = 8
# What is held out is never given up for a training row.
_HELD_OUT_FIRST = {"test": 0, "valid": 1, "train": 2}


class ReduceOutcome(msgspec.Struct, frozen=True, tag="reduce"):
    """What became of the candidates of one partition, or of several.

    Attributes:
        rows_by_split: what is kept.
        labels: rows by split and label.
        sources: kept rows by `meta["source"]`, where there is one to read.
        merged, leaked, cut, near_duplicate, over_cap: rows that are not kept, as in `DatasetSummary`.
        quarantined: rows by reason.
        conflicting_texts: texts that stand under several labels.
        repeated_ids: kept records whose id other texts had, too.
        texts: distinct usable texts, before `rows` and `max_per_label` cut them.
        first_kept: the smallest `rows_order` of texts, as many as `rows` asks for.
        first_kept_by_label: the same for the training texts of each label, as many as `max_per_label` allows.
    """

    rows_by_split: dict[str, int]
    labels: dict[str, dict[str, int]]
    sources: dict[str, int]
    merged: int
    leaked: int
    cut: int
    near_duplicate: int
    over_cap: int
    quarantined: dict[str, int]
    conflicting_texts: int
    repeated_ids: int
    texts: int
    first_kept: list[bytes]
    first_kept_by_label: dict[str, list[bytes]]


def reduce_partition(
    partition: int, slices: Iterable[tuple[int, int, int]], plan: Plan, decisions: Decisions
) -> ReduceOutcome:
    """Decide on every candidate of a partition; write its part of each split and of the quarantine.

    The order in which rows were read changes nothing in the splits.

    Args:
        partition: its index.
        slices: (chunk, start, end): where its candidates stand in the spills.
        plan: of the build.
        decisions: about all rows.
    """
    workspace = Workspace(plan.workspace)
    candidates: list[Candidate] = []
    for number, start, end in slices:
        candidates += _decode(workspace.read(spill_name(number), start, end))
    candidates.sort(key=_by_digest)
    part = _Part(partition, plan, decisions, workspace)
    start = 0
    for place, candidate in enumerate(candidates):
        if candidate.digest != candidates[start].digest:
            part.add(candidates[start:place])
            start = place
    if candidates:
        part.add(candidates[start:])
    part.write()
    return part.outcome()


class _Part:
    """One partition while it is reduced."""

    def __init__(self, partition: int, plan: Plan, decisions: Decisions, workspace: Workspace) -> None:
        self._partition, self._plan, self._decisions, self._workspace = partition, plan, decisions, workspace
        self._options = plan.options
        self._test_below, self._valid_from = bounds_of_splits(
            plan.options.valid_fraction, plan.options.test_fraction, is_test_given=plan.options.test_data_given
        )
        content = workspace.read(near_name(partition)) if decisions.near_duplicates else b""
        self._near = {content[at : at + _DIGEST_BYTES] for at in range(0, len(content), _DIGEST_BYTES)}
        self._lines: dict[Split, list[bytes]] = {split: [] for split in SPLITS}
        self._labels: dict[Split, Counter[tuple[str, ...]]] = {split: Counter() for split in SPLITS}
        self._sources: Counter[str] = Counter()
        self._ids: list[str] = []
        self._places_of_ids: list[tuple[Split, int, bytes]] = []
        self._quarantined: list[Candidate] = []
        self._details: dict[int, tuple[str, str]] = {}
        self._merged = self._leaked = self._cut = self._near_duplicate = self._over_cap = 0
        self._conflicting_texts = self._texts = self._repeated_ids = 0
        self._orders: list[bytes] = []
        self._orders_by_label: dict[str, list[bytes]] = {}

    def add(self, group: list[Candidate]) -> None:
        """Decide on all candidates of one text."""
        if self._decisions.rare_labels:
            group = [kept for candidate in group if (kept := self._without_rare(candidate))]
            if not group:
                return
        digest = group[0].digest
        split: Split = "test" if digest < self._test_below else "valid" if digest >= self._valid_from else "train"
        given = group[0].split
        if len(group) > 1:
            group, split = self._held_out_first(group, split)
            chosen = self._merge(group)
            if chosen is None:
                return
        else:
            chosen = group[0]
            split = given or split  # type: ignore[assignment]  # candidates hold no other text
        self._keep(chosen, split, len(group))

    def _held_out_first(self, group: list[Candidate], hashed: Split) -> tuple[list[Candidate], Split]:
        """Leave out the rows whose text is also in a split that is held out rather than theirs."""
        splits = [candidate.split or hashed for candidate in group]
        best = min(splits, key=_HELD_OUT_FIRST.__getitem__)
        kept = [candidate for candidate, split in zip(group, splits, strict=True) if split == best]
        self._leaked += len(group) - len(kept)
        return kept, best  # type: ignore[return-value]

    def _merge(self, group: list[Candidate]) -> Candidate | None:
        """Choose one row of those with one text; none where their labels disagree."""
        labels = {candidate.labels for candidate in group}
        if len(labels) > 1:
            self._conflicting_texts += 1
            shown = " and ".join(sorted(repr(", ".join(names)) for names in labels)[:4])
            for candidate in group:
                self._quarantine(candidate, "conflicting_labels", f"the same text stands under {shown}")
            return None
        return min(group, key=lambda candidate: candidate.line)

    def _keep(self, chosen: Candidate, split: Split, rows: int) -> None:
        """Keep a text, unless a decision about all of them leaves it out.

        What is left out counts as one row; the others of the same text were merged into it.
        """
        decisions, options = self._decisions, self._options
        self._merged += rows - 1
        self._texts += 1
        order = rows_order(chosen.digest) if options.rows or options.max_per_label else b""
        if options.rows and not decisions.last_kept:
            self._orders.append(order)
        if decisions.last_kept and order > decisions.last_kept:
            self._cut += 1
            return
        if split == "train":
            if chosen.digest in self._near:
                self._near_duplicate += 1
                return
            if options.max_per_label and self._is_over_cap(chosen.labels, order):
                self._over_cap += 1
                return
        if chosen.id:
            self._ids.append(chosen.id)
            if decisions.ids_repeat:
                self._places_of_ids.append((split, len(self._lines[split]), chosen.digest))
        self._lines[split].append(chosen.line)
        self._labels[split][chosen.labels] += 1
        if chosen.source:
            self._sources[chosen.source] += 1

    def _is_over_cap(self, labels: Sequence[str], order: bytes) -> bool:
        """Say whether every label of a training text has enough texts that come before it."""
        caps = self._decisions.last_kept_by_label
        if not caps:
            for label in labels:
                self._orders_by_label.setdefault(label, []).append(order)
            return False
        return all(label in caps and order > caps[label] for label in labels)

    def _without_rare(self, candidate: Candidate) -> Candidate | None:
        """Take the rare labels from a candidate; quarantine it where it has no other."""
        rare = self._decisions.rare_labels
        if rare.isdisjoint(candidate.labels):
            return candidate
        labels = tuple(label for label in candidate.labels if label not in rare)
        if not labels:
            shown = ", ".join(map(repr, candidate.labels))
            self._quarantine(candidate, "rare_label", f"{shown}: fewer than {self._options.min_per_label} texts")
            return None
        record = msgspec.json.decode(candidate.line, type=Record)
        line = _encode_line(msgspec.structs.replace(record, labels=labels)) + b"\n"
        return msgspec.structs.replace(candidate, labels=labels, line=line)

    def _quarantine(self, candidate: Candidate, reason: str, detail: str) -> None:
        self._details[id(candidate)] = (reason, detail)
        self._quarantined.append(candidate)

    def write(self) -> None:
        """Write the parts; ids that several texts have are made different by the start of their text's digest."""
        if self._ids:
            hashes = np.frombuffer(b"".join(map(_id_hash, self._ids)), dtype=np.uint64)
            if self._decisions.ids_repeat:
                self._tell_apart(hashes)
            else:
                self._workspace.write(ids_name(self._partition), hashes.tobytes())
        for split, lines in self._lines.items():
            self._workspace.write(part_name(self._partition, split), b"".join(lines))
        rows = (
            QuarantinedRow(
                file=self._plan.names[candidate.file],
                line=candidate.line_number,
                reason=self._details[id(candidate)][0],  # type: ignore[arg-type]
                detail=self._details[id(candidate)][1],
                row=row_of(candidate, self._options.fields),
            )
            for candidate in self._quarantined
        )
        self._workspace.write(
            part_name(self._partition, "quarantine"), b"".join(_encode_line(row) + b"\n" for row in rows)
        )

    def _tell_apart(self, hashes: np.ndarray[Any, Any]) -> None:
        repeated = np.frombuffer(self._workspace.read(REPEATED_IDS), dtype=np.uint64)
        for at in np.flatnonzero(np.isin(hashes, repeated)):
            split, place, digest = self._places_of_ids[at]
            record = msgspec.json.decode(self._lines[split][place], type=Record)
            told_apart = msgspec.structs.replace(record, id=f"{record.id}-{digest[:_ID_BYTES].hex()}")
            self._lines[split][place] = _encode_line(told_apart) + b"\n"
            self._repeated_ids += 1

    def outcome(self) -> ReduceOutcome:
        """Sum up."""
        return ReduceOutcome(
            rows_by_split={split: len(lines) for split, lines in self._lines.items()},
            labels={split: _by_label(counts) for split, counts in self._labels.items()},
            sources=dict(self._sources),
            merged=self._merged,
            leaked=self._leaked,
            cut=self._cut,
            near_duplicate=self._near_duplicate,
            over_cap=self._over_cap,
            quarantined=dict(Counter(reason for reason, _ in self._details.values())),
            conflicting_texts=self._conflicting_texts,
            repeated_ids=self._repeated_ids,
            texts=self._texts,
            first_kept=heapq.nsmallest(self._options.rows, self._orders),
            first_kept_by_label={
                label: heapq.nsmallest(self._options.max_per_label, orders)
                for label, orders in self._orders_by_label.items()
            },
        )


def total(outcomes: Iterable[ReduceOutcome], *, rows: int, max_per_label: int) -> ReduceOutcome:
    """Sum up over partitions; of the smallest orders as many stay as `rows` and `max_per_label` ask for."""
    summed: Counter[str] = Counter()
    rows_by_split: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    labels: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    first: list[bytes] = []
    first_by_label: dict[str, list[bytes]] = {}
    for outcome in outcomes:
        summed.update({name: getattr(outcome, name) for name in _SUMMED})
        rows_by_split.update(outcome.rows_by_split)
        sources.update(outcome.sources)
        quarantined.update(outcome.quarantined)
        for split, by_label in outcome.labels.items():
            labels[split].update(by_label)
        first = heapq.nsmallest(rows, first + outcome.first_kept)
        for label, orders in outcome.first_kept_by_label.items():
            first_by_label[label] = heapq.nsmallest(max_per_label, first_by_label.get(label, []) + orders)
    return ReduceOutcome(
        rows_by_split=dict(rows_by_split),
        labels={split: dict(by_label) for split, by_label in labels.items()},
        sources=dict(sources),
        merged=summed["merged"],
        leaked=summed["leaked"],
        cut=summed["cut"],
        near_duplicate=summed["near_duplicate"],
        over_cap=summed["over_cap"],
        quarantined=dict(quarantined),
        conflicting_texts=summed["conflicting_texts"],
        repeated_ids=summed["repeated_ids"],
        texts=summed["texts"],
        first_kept=first,
        first_kept_by_label=first_by_label,
    )


_SUMMED = ("merged", "leaked", "cut", "near_duplicate", "over_cap", "conflicting_texts", "repeated_ids", "texts")


def _by_label(counts: Counter[tuple[str, ...]]) -> dict[str, int]:
    """Count rows by label from rows by labels."""
    by_label: Counter[str] = Counter()
    for labels, count in counts.items():
        for label in labels:
            by_label[label] += count
    return dict(by_label)


def _id_hash(identity: str) -> bytes:
    return sha256(identity.encode()).digest()[:_ID_BYTES]
