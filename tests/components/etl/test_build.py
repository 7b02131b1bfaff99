import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.etl import finish
from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import DatasetSummary, read_split, read_summary, read_taxonomy
from tunelane_components.etl.record import Record, text_digest
from tunelane_components.etl.rows.candidates import QuarantinedRow
from tunelane_components.etl.split import SPLITS, rows_order, split_of
from tunelane_serving.contract import read_lines
from tunelane_serving.errors import InputError

Rows = list[dict[str, Any]]
WriteJsonl = Callable[..., Path]
CONTENT = ("train.jsonl", "valid.jsonl", "test.jsonl", "taxonomy.json")


def build(data: Path, output: Path, **options: Any) -> DatasetSummary:
    """Build without a search for near-duplicates: the tickets differ in their numbers alone."""
    return build_dataset(str(data), output, **{"near_duplicate_threshold": 0.0, **options}).summary


def records_of(directory: Path) -> list[Record]:
    return [record for split in SPLITS for record in read_split(directory, split)]


def quarantine_of(directory: Path) -> list[QuarantinedRow]:
    return list(read_lines(directory / "quarantine.jsonl", QuarantinedRow))


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def message_of(data: Path, output: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        build(data, output, **options)
    assert not output.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_record_stands_in_the_split_of_its_text(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    summary = build(write_jsonl(tickets), tmp_path / "out", valid_fraction=0.2, test_fraction=0.3)
    for split in SPLITS:
        records = read_split(tmp_path / "out", split)
        assert [split_of(record.text, 0.2, 0.3) for record in records] == [split] * len(records)
        assert summary.rows_of(split) == len(records)
        digests = [text_digest(record.text) for record in records]
        assert digests == sorted(digests)
    assert {record.text for record in records_of(tmp_path / "out")} == {row["text"] for row in tickets}


def test_a_record_carries_id_and_source_where_columns_are_named(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    data = write_jsonl(tickets)
    build(data, tmp_path / "plain")
    build(data, tmp_path / "full", id_field="key", source_field="channel")
    plain = {record.text: record for record in records_of(tmp_path / "plain")}
    full = {record.text: record for record in records_of(tmp_path / "full")}
    digest = text_digest("Ticket number 7")
    assert plain["Ticket number 7"] == Record(id=digest[:16], text="Ticket number 7", labels=("delivery",))
    assert full["Ticket number 7"] == Record(
        id="k7", text="Ticket number 7", labels=("delivery",), meta={"source": "form"}
    )
    assert read_summary(tmp_path / "full").sources == {"form": 150, "mail": 150}
    assert read_summary(tmp_path / "plain").sources == {"": 300}


def test_every_row_that_was_read_is_accounted_for(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    tickets += [
        {"text": "  ", "label": "praise"},
        {"label": "praise"},
        {"text": "no label", "label": " "},
        {"text": "neither"},
        {"text": "TICKET  number 0", "label": "billing"},
        {"text": "Ticket number 1", "label": "praise"},
        {"text": "a list", "label": ["praise"]},
        {"text": "a nul \0", "label": "praise"},
    ]
    data = write_jsonl(tickets)
    with data.open("a") as stream:
        stream.write("not json\n")
    summary = build(data, tmp_path / "out", rows=200)
    assert summary.rows_read == 309
    assert summary.rows_merged == 1
    assert summary.quarantined == {"conflicting_labels": 2, "empty_text": 2, "malformed_row": 2, "missing_label": 2}
    assert summary.conflicting_texts == 1
    assert summary.rows_cut == 100
    assert summary.rows_kept == 200 == len(records_of(tmp_path / "out"))
    assert summary.rows_read == summary.rows_kept + summary.rows_quarantined + summary.rows_merged + summary.rows_cut
    assert sum(summary.rows_of(split) for split in SPLITS) == 200
    assert read_summary(tmp_path / "out") == summary


def test_the_quarantine_names_line_reason_and_row(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    data = write_jsonl([{"text": "", "label": "praise"}, *tickets, {"text": "ticket NUMBER 0", "label": "praise"}])
    with data.open("a") as stream:
        stream.write("{broken\n")
    build(data, tmp_path / "out")
    conflict = "the same text stands under 'billing' and 'praise'"
    empty, broken, first, second = quarantine_of(tmp_path / "out")
    assert empty == QuarantinedRow(
        "tickets.jsonl", 1, "empty_text", "field 'text' is empty", {"text": "", "label": "praise"}
    )
    assert (first.line, first.reason, first.detail, first.row) == (2, "conflicting_labels", conflict, tickets[0])
    assert (second.line, second.reason, second.detail) == (302, "conflicting_labels", conflict)
    assert (broken.line, broken.reason, broken.row) == (303, "malformed_row", "{broken")


def test_the_order_of_the_rows_changes_nothing(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    tickets += [
        {"key": "k1", "text": "Another text with a known id", "label": "praise", "channel": "mail"},
        {"key": "z", "text": "TICKET NUMBER 5", "label": "praise", "channel": "chat"},
        {"key": "a", "text": "ticket number 5 ", "label": "praise", "channel": "mail"},
        {"key": "k8", "text": "ticket number 9", "label": "praise", "channel": "mail"},
    ]
    options: dict[str, Any] = {"id_field": "key", "source_field": "channel", "rows": 250}
    one = build(write_jsonl(tickets, "one.jsonl"), tmp_path / "one", **options)
    other = build(write_jsonl(tickets[::-1], "other.jsonl"), tmp_path / "other", **options)
    assert one.digest == other.digest
    for name in CONTENT:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_the_same_input_and_options_give_identical_files(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    data = write_jsonl([*tickets, {"text": "", "label": "x"}])
    build(data, tmp_path / "one")
    build(data, tmp_path / "other")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "other")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl"])
def test_every_kind_of_file_gives_the_same_dataset(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path, suffix: str
) -> None:
    expected = build(write_jsonl(tickets, "expected.jsonl"), tmp_path / "expected")
    data = tmp_path / f"data.{suffix}"
    if suffix in ("csv", "tsv"):
        with data.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(tickets[0]), delimiter="," if suffix == "csv" else "\t")
            writer.writeheader()
            writer.writerows(tickets)
    else:
        data.write_text(json.dumps(tickets) if suffix == "json" else "\n".join(map(json.dumps, tickets)))
    assert build(data, tmp_path / "out").digest == expected.digest


def test_digests_are_those_of_the_files(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    data = write_jsonl(tickets)
    summary = build(data, tmp_path / "out")
    on_disk = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in bytes_of(tmp_path / "out").items()
        if name not in ("dataset.json", "statistics.json", "dataset.html")
    }
    assert summary.files == on_disk
    assert set(on_disk) == {*CONTENT, "quarantine.jsonl"}
    assert summary.data_sha256 == hashlib.sha256(data.read_bytes()).hexdigest()
    assert summary.taxonomy_digest == read_taxonomy(tmp_path / "out").digest


def test_one_changed_label_changes_the_digest(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    before = build(write_jsonl(tickets), tmp_path / "out").digest
    tickets[0]["label"] = "praise"
    assert build(write_jsonl(tickets), tmp_path / "out").digest != before


def test_adding_rows_moves_no_row_to_another_split(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    build(write_jsonl(tickets[:150], "part.jsonl"), tmp_path / "part")
    build(write_jsonl(tickets, "whole.jsonl"), tmp_path / "whole")
    for split in SPLITS:
        part = {record.id for record in read_split(tmp_path / "part", split)}
        assert part <= {record.id for record in read_split(tmp_path / "whole", split)}


def test_fewer_rows_are_part_of_more(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    data = write_jsonl(tickets)
    kept = []
    for rows in (80, 160, 0):
        build(data, tmp_path / str(rows), rows=rows)
        kept.append({record.id for record in records_of(tmp_path / str(rows))})
    assert [len(ids) for ids in kept] == [80, 160, 300]
    assert kept[0] < kept[1] < kept[2]


def test_ids_that_stand_twice_are_made_unique_by_the_text(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    tickets[0]["key"] = tickets[1]["key"] = "same"
    tickets[2]["key"] = ""
    summary = build(write_jsonl(tickets), tmp_path / "out", id_field="key")
    ids = {record.text: record.id for record in records_of(tmp_path / "out")}
    assert len(set(ids.values())) == 300
    assert ids["Ticket number 0"] == f"same-{text_digest('Ticket number 0')[:16]}"
    assert ids["Ticket number 1"] == f"same-{text_digest('Ticket number 1')[:16]}"
    assert ids["Ticket number 2"] == text_digest("Ticket number 2")[:16]
    assert ids["Ticket number 3"] == "k3"
    assert summary.repeated_ids == 2


def test_numbers_and_booleans_are_labels_too(write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    rows = [{"text": f"t {number}", "label": (0, True)[number % 2]} for number in range(100)]
    build(write_jsonl(rows), tmp_path / "out")
    assert read_taxonomy(tmp_path / "out").names == ("0", "true")


def test_an_inferred_taxonomy_does_not_depend_on_how_many_rows_are_kept(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    data = write_jsonl(tickets)
    few = build(data, tmp_path / "few", rows=60)
    assert few.taxonomy_digest == build(data, tmp_path / "all").taxonomy_digest
    assert read_taxonomy(tmp_path / "few").names == ("billing", "delivery", "praise")


def test_a_label_that_a_cut_leaves_without_rows_stops_instead_of_vanishing(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    train = [text for text in map("Rare {}".format, range(400)) if split_of(text, 0.1, 0.1) == "train"]
    rare = max(train, key=lambda text: rows_order(bytes.fromhex(text_digest(text))))
    data = write_jsonl([*tickets, {"text": rare, "label": "rare"}])
    assert "rare" in build(data, tmp_path / "all").labels["train"]
    message = message_of(data, tmp_path / "few", rows=60)
    assert message.startswith("tickets.jsonl: label 'rare' has 0 rows to train on (0 in valid and test), 1 is needed.")


def test_a_given_taxonomy_sets_the_order_and_its_aliases_count_as_the_label(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    tickets[0]["label"] = " invoice "
    tickets.append({"text": "ticket number 0", "label": "billing"})
    taxonomy = tmp_path / "labels.yaml"
    taxonomy.write_text("labels: [praise, {name: billing, aliases: [invoice]}, delivery]")
    summary = build(write_jsonl(tickets), tmp_path / "out", taxonomy=str(taxonomy))
    assert read_taxonomy(tmp_path / "out").names == ("praise", "billing", "delivery")
    assert summary.rows_merged == 1
    assert summary.options.taxonomy_given
    assert {record.labels for record in records_of(tmp_path / "out")} == {("praise",), ("billing",), ("delivery",)}


def test_a_label_outside_a_given_taxonomy_is_quarantined_with_the_nearest(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    taxonomy = tmp_path / "labels.yaml"
    taxonomy.write_text("labels: [praise, billing, delivery]")
    tickets[41]["label"] = "Biling"
    tickets[50]["label"] = "DELIVERY\n"
    build(write_jsonl(tickets), tmp_path / "out", taxonomy=str(taxonomy))
    first, second = quarantine_of(tmp_path / "out")
    assert (first.line, first.reason, first.row) == (42, "unknown_label", tickets[41])
    assert first.detail == "'Biling' is not in the taxonomy; the nearest is 'billing'"
    assert second.detail == "'DELIVERY' is not in the taxonomy; the nearest is 'delivery'"


@pytest.mark.parametrize("role", ["text", "label", "id", "source"])
def test_a_column_that_is_not_there_names_those_that_are(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path, role: str
) -> None:
    message = message_of(write_jsonl(tickets), tmp_path / "out", **{f"{role}_field": "body"})
    assert message == (
        f"No column 'body' in tickets.jsonl. Pass --set {role}_field=NAME; the file has: key, text, label, channel."
    )


def test_a_single_class_stops(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    data = write_jsonl([{**row, "label": "spam"} for row in tickets])
    assert message_of(data, tmp_path / "out").startswith("Every row has the label 'spam'; a classifier needs at least")


def test_too_few_rows_say_how_many_there_are_and_are_needed(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path
) -> None:
    rows = [*tickets[:40], tickets[0], {"text": "", "label": "praise"}]
    assert message_of(write_jsonl(rows), tmp_path / "out") == (
        "tickets.jsonl: 40 rows are left of 42 read (1 quarantined, 1 duplicates, 0 cut); at least 50 must be. "
        "Add rows, or pass --set minimum_rows=N."
    )
    assert "30 rows are left of 300 read" in message_of(write_jsonl(tickets), tmp_path / "out", rows=30)
    build(write_jsonl(tickets[:40]), tmp_path / "out", minimum_rows=40)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "[]", "a.json has no rows."),
        ("a.csv", "text,label\n", "a.csv has no rows."),
        ("a.jsonl", "", "a.jsonl is empty."),
        ("a.jsonl", "broken\n", "a.jsonl: 0 rows are left of 1 read"),
    ],
)
def test_a_file_without_a_usable_row_stops(tmp_path: Path, name: str, content: str, said: str) -> None:
    data = tmp_path / name
    data.write_text(content)
    assert message_of(data, tmp_path / "out", max_rejected_fraction=1.0).startswith(said)


def test_a_split_without_rows_stops(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    message = message_of(write_jsonl(tickets), tmp_path / "out", test_fraction=0.0001)
    assert message == "tickets.jsonl: split test has 0 of 300 rows, 1 is needed. Add rows, or raise its fraction."


def test_a_label_without_rows_to_train_on_stops(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    held_out = next(text for text in map("Rare {}".format, range(100)) if split_of(text, 0.1, 0.1) == "test")
    message = message_of(write_jsonl([*tickets, {"text": held_out, "label": "rare"}]), tmp_path / "out")
    assert message.startswith("tickets.jsonl: label 'rare' has 0 rows to train on (1 in valid and test), 1 is needed.")


def test_bad_options_are_refused(tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path) -> None:
    data = write_jsonl(tickets)
    assert message_of(data, tmp_path / "out", rows=-1).startswith("rows=-1: pass 0 for all rows")
    assert message_of(data, tmp_path / "out", valid_fraction=0.6, test_fraction=0.5).startswith("valid_fraction=0.6")


def test_a_failure_half_way_leaves_the_old_dataset_whole(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(write_jsonl(tickets), tmp_path / "out")
    before = bytes_of(tmp_path / "out")

    def full_disk(path: Path) -> str:
        raise OSError(f"no space left for {path.name}")

    with monkeypatch.context() as patch:
        # The splits of the new version are written by then.
        patch.setattr(finish, "sha256_file", full_disk)
        with pytest.raises(InputError, match=r"^Cannot write .*no space left"):
            build(write_jsonl(tickets[:200]), tmp_path / "out")
    assert bytes_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tickets.jsonl"]

    assert build(write_jsonl(tickets[:200]), tmp_path / "out").rows_kept == 200
    assert len(records_of(tmp_path / "out")) == 200


def test_a_model_without_a_tokenizer_file_costs_the_report_its_tokens_and_no_more(
    tickets: Rows, write_jsonl: WriteJsonl, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    data = write_jsonl(tickets)
    summary = build(data, tmp_path / "out", tokenizer=str(model))
    assert summary.options.tokenizer_digest == ""
    assert "Tokens are not counted: tokenizer" in caplog.text
    assert "holds no tokenizer.json" in message_of(data, tmp_path / "other", tokenizer=str(model), max_tokens=9)
