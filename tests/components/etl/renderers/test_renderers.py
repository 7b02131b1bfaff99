import json
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.etl.checking.finished import validate_file
from tunelane_components.etl.checking.forms import FORMS
from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers import RENDERERS, render_splits, renderer
from tunelane_components.etl.renderers.completion import completion_of, labels_of
from tunelane_components.etl.renderers.prompts import PromptTemplate, load_prompt
from tunelane_components.etl.split import SPLITS
from tunelane_serving.contract import write_lines
from tunelane_serving.errors import ContractError, InputError
from tunelane_serving.taxonomy import Label, Taxonomy

DOMAINS = Taxonomy(
    labels=(
        Label("language", "Talking, listening, early writing."),
        Label("speaking", parent="language"),
        Label("motor", "Moves the body."),
    )
)
NOTE = Record(id="n-1", text='Lena said "again"\nand jumped.', labels=("motor",), image_uri="gs://photos/n-1.JPG")
SHORT = PromptTemplate("{% block system %}Pick.{% endblock %}{% block user %}{{ text }}{% endblock %}", "short.jinja")
NO_SYSTEM = PromptTemplate("{% block system %}{% endblock %}{% block user %}{{ text }}{% endblock %}", "bare.jinja")

hard_names = st.one_of(
    st.text(min_size=1, max_size=12),
    st.text(alphabet='[]",\\ \n\u00e9{}%', min_size=1, max_size=12),
    st.lists(st.text(max_size=3), max_size=3).map(json.dumps),
).filter(lambda name: bool(name.strip()) and "\0" not in name)
texts = st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip()))


def rendered(name: str, record: Record = NOTE, *, prompt: PromptTemplate = SHORT, multi_label: bool = False) -> object:
    return json.loads(renderer(name, DOMAINS, prompt, multi_label=multi_label)(record))


def test_classification_is_the_canonical_line() -> None:
    assert rendered("classification") == {
        "id": "n-1",
        "text": 'Lena said "again"\nand jumped.',
        "labels": ["motor"],
        "image_uri": "gs://photos/n-1.JPG",
    }


@pytest.mark.parametrize(
    ("name", "fields"),
    [("prompt_completion", ("prompt", "completion")), ("input_output", ("input_text", "output_text"))],
)
def test_a_prompt_holds_the_instructions_and_the_text_and_ends_in_one_line_break(
    name: str, fields: tuple[str, str]
) -> None:
    assert rendered(name) == {fields[0]: 'Pick.\n\nLena said "again"\nand jumped.\n', fields[1]: "motor"}
    assert rendered(name, prompt=NO_SYSTEM) == {fields[0]: 'Lena said "again"\nand jumped.\n', fields[1]: "motor"}


def test_messages_are_a_chat_as_trl_reads_it() -> None:
    user, assistant = {"role": "user", "content": NOTE.text}, {"role": "assistant", "content": "motor"}
    assert rendered("messages") == {"messages": [{"role": "system", "content": "Pick."}, user, assistant]}
    assert rendered("messages", prompt=NO_SYSTEM) == {"messages": [user, assistant]}


def test_gemini_has_the_names_and_the_nesting_of_the_service() -> None:
    assert rendered("gemini") == {
        "systemInstruction": {"role": "system", "parts": [{"text": "Pick."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"fileData": {"mimeType": "image/jpeg", "fileUri": "gs://photos/n-1.JPG"}},
                    {"text": 'Lena said "again"\nand jumped.'},
                ],
            },
            {"role": "model", "parts": [{"text": "motor"}]},
        ],
    }
    plain = Record(id="n-2", text="Sang.", labels=("language",))
    assert rendered("gemini", plain, prompt=NO_SYSTEM) == {
        "contents": [
            {"role": "user", "parts": [{"text": "Sang."}]},
            {"role": "model", "parts": [{"text": "language"}]},
        ]
    }


def test_an_image_that_gemini_does_not_take_is_named() -> None:
    record = Record(id="n-3", text="Ran.", labels=("motor",), image_uri="gs://photos/n-3.tiff")
    with pytest.raises(
        InputError, match=r"^Record 'n-3': Gemini takes no image like 'gs://photos/n-3\.tiff'\. Convert"
    ):
        rendered("gemini", record)


def test_trl_takes_the_chat_and_the_prompt_as_they_are() -> None:
    from trl.data_utils import is_conversational

    assert is_conversational(rendered("messages")) is True  # type: ignore[arg-type]
    assert is_conversational(rendered("prompt_completion")) is False  # type: ignore[arg-type]


def test_the_client_of_gemini_reads_every_turn() -> None:
    from google.genai import types

    example = rendered("gemini")
    assert isinstance(example, dict)
    for content in [example["systemInstruction"], *example["contents"]]:
        types.Content.model_validate(content)
    user = types.Content.model_validate(example["contents"][0])
    assert user.parts is not None
    assert user.parts[0].file_data == types.FileData(mime_type="image/jpeg", file_uri="gs://photos/n-1.JPG")


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^Unknown format 'mesages'; the nearest is 'messages'\. Pass any of class"):
        renderer("mesages", DOMAINS, SHORT, multi_label=False)


@pytest.mark.parametrize(
    ("labels", "multi_label", "completion"),
    [
        (("joy",), False, "joy"),
        (("joy, deep",), False, "joy, deep"),
        (("joy",), True, '["joy"]'),
        (("joy", "Ärger"), True, '["joy","Ärger"]'),
        # Names that would be read as something else.
        (('["joy"]',), False, '["[\\"joy\\"]"]'),
        ((" joy",), False, '[" joy"]'),
        (("[draft]",), False, "[draft]"),
    ],
)
def test_an_answer_is_a_name_or_an_array_of_names(labels: tuple[str, ...], multi_label: bool, completion: str) -> None:
    assert completion_of(labels, multi_label=multi_label) == completion
    assert labels_of(completion) == labels
    assert labels_of(f"  {completion}\n") == labels


def test_an_answer_that_is_no_array_of_names_is_one_name() -> None:
    assert labels_of("[joy") == ("[joy",)
    assert labels_of("[1, 2]") == ("[1, 2]",)
    assert labels_of("I think it is joy.") == ("I think it is joy.",)


@given(st.lists(hard_names, min_size=1, max_size=4, unique=True), st.booleans())
def test_labels_come_back_from_their_answer_whatever_their_names(names: list[str], multi_label: bool) -> None:
    labels = tuple(names) if multi_label else tuple(names[:1])
    assert labels_of(completion_of(labels, multi_label=multi_label)) == labels


@given(
    st.sampled_from(list(RENDERERS)),
    st.lists(hard_names, min_size=2, max_size=4, unique=True),
    st.lists(texts, min_size=1, max_size=3, unique_by=lambda text: " ".join(text.casefold().split())),
    st.booleans(),
    st.sampled_from(["", "gs://photos/a.png", "https://x.example/b.webp"]),
)
def test_every_rendered_line_passes_the_check_of_its_form(
    name: str, names: list[str], row_texts: list[str], multi_label: bool, image_uri: str
) -> None:
    taxonomy = Taxonomy(labels=tuple(Label(label, description="What {{ it }} means.") for label in names))
    labels = tuple(names) if multi_label else (names[0],)
    records = [
        Record(id=f"r{number}", text=text, labels=labels, image_uri=image_uri, meta={"source": "x"})
        for number, text in enumerate(row_texts)
    ]
    lines = [renderer(name, taxonomy, load_prompt(), multi_label=multi_label)(record) for record in records]
    again = [renderer(name, taxonomy, load_prompt(), multi_label=multi_label)(record) for record in records]
    assert lines == again
    assert not any(b"\n" in line for line in lines)
    for line, record in zip(lines, records, strict=True):
        row = json.loads(line)
        assert FORMS[name].labels(row) == record.labels
        assert record.text.strip() in FORMS[name].question(row)
    # A folder of its own for each example: a fixture is made once for all of them.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        faults = list(validate_file(path, taxonomy=taxonomy))
    assert [fault for fault in faults if not fault.code.startswith("repeated")] == []


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for place, split in enumerate(SPLITS):
        records = [
            Record(id=f"{split}-{number}", text=f"Note {place} {number}", labels=("motor",))
            for number in range(3 - place)
        ]
        write_lines(tmp_path / f"{split}.jsonl", records)
    return tmp_path


def test_splits_are_rendered_row_by_row_with_their_digests(dataset: Path) -> None:
    digests = render_splits(dataset, "messages", DOMAINS, SHORT, multi_label=False)
    assert list(digests) == ["messages/train.jsonl", "messages/valid.jsonl", "messages/test.jsonl"]
    for name, digest in digests.items():
        content = (dataset / name).read_bytes()
        assert sha256(content).hexdigest() == digest
    train = (dataset / "messages/train.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["messages"][1]["content"] for line in train] == ["Note 0 0", "Note 0 1", "Note 0 2"]
    assert digests == render_splits(dataset, "messages", DOMAINS, SHORT, multi_label=False)


def test_a_missing_split_is_named(dataset: Path) -> None:
    (dataset / "valid.jsonl").unlink()
    with pytest.raises(ContractError, match=r"valid\.jsonl: No such file"):
        render_splits(dataset, "messages", DOMAINS, SHORT, multi_label=False)
