from pathlib import Path

import msgspec
import pytest

from tunelane_components.etl.record import Record, text_digest
from tunelane_serving.contract import read_lines, write_lines
from tunelane_serving.errors import ContractError

GOLDEN = Path(__file__).parent / "golden" / "record.v1.jsonl"


def test_the_golden_records_of_version_1_load() -> None:
    records = list(read_lines(GOLDEN, Record))
    assert [record.id for record in records] == ["t-1", "t-2", "t-3", "t-4"]
    assert records[1] == Record(
        id="t-2", text="Ärger mit der Rechnung 🙄", labels=("billing",), meta={"source": "mail"}
    )
    assert records[2].labels == ("delivery", "billing")
    assert records[2].image_uri == "gs://bucket/t-3.png"
    assert records[3].version == 1


def test_written_records_read_back_equal(tmp_path: Path) -> None:
    records = list(read_lines(GOLDEN, Record))
    assert write_lines(tmp_path / "copy.jsonl", records) == 4
    assert list(read_lines(tmp_path / "copy.jsonl", Record)) == records


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id":"a","text":"x"}', "missing required field `labels`"),
        ('{"id":"a","text":7,"labels":["l"]}', "field text: "),
        ('{"id":"a","text":"x","labels":["l",3]}', "field labels[1]: "),
        ('{"id":"","text":"x","labels":["l"]}', "id: a record needs an id"),
        ('{"id":"a","text":"  ","labels":["l"]}', "text: is empty"),
        ('{"id":"a","text":"x","labels":["l","l"]}', "labels: a label stands twice"),
        ('{"id":"a","text":"x","labels":["l"],"lable":1}', "unknown field `lable`"),
        ('{"id":"a","text":"x","labels":["l"],"version":2}', "upgrade tunelane"),
        ('{"id":"a",', "not valid JSON"),
    ],
)
def test_a_broken_record_is_named_by_line_and_field(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"id":"ok","text":"x","labels":["l"]}\n' + line + "\n")
    with pytest.raises(ContractError) as caught:
        list(read_lines(path, Record))
    message = str(caught.value)
    assert message.startswith(f"{path}:2: ")
    assert complaint in message
    assert "\n" not in message


def test_the_text_digest_is_stable_for_ever() -> None:
    # A changed digest would move rows between splits of every dataset there is.
    assert text_digest("The parcel came.") == "2172e8153628582e887e565858456559598a3655f726b9d95fed85948b35d006"
    assert text_digest("  THE\u00a0parcel\tcame. ") == text_digest("The parcel came.")
    assert text_digest("\uff34he parcel came.") == text_digest("The parcel came.")
    assert text_digest("The parcel came") != text_digest("The parcel came.")


def test_a_record_cannot_be_changed() -> None:
    record = Record(id="a", text="x", labels=("l",))
    with pytest.raises(AttributeError):
        record.text = "y"  # type: ignore[misc]
    assert msgspec.structs.replace(record, text="y").text == "y"
