from pathlib import Path

import pytest

from tunelane_components.etl.taxonomy import infer_taxonomy, load_taxonomy
from tunelane_serving.contract import write
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Label, Taxonomy


def written(tmp_path: Path, content: str, name: str = "labels.yaml") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def message_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_taxonomy(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_yaml_labels_may_be_names_or_mappings(tmp_path: Path) -> None:
    taxonomy = load_taxonomy(
        written(
            tmp_path,
            """
            version: 1
            labels:
              - joy
              - name: anger
                description: Being angry.
                aliases: [rage, fury]
              - {name: outrage, parent: anger}
            """,
        )
    )
    assert taxonomy == Taxonomy(
        labels=(
            Label("joy"),
            Label("anger", description="Being angry.", aliases=("rage", "fury")),
            Label("outrage", parent="anger"),
        )
    )


def test_yaml_labels_that_look_like_other_types_stay_text(tmp_path: Path) -> None:
    assert load_taxonomy(written(tmp_path, "[yes, no, 1, 1.0, null, 2024-01-01]")).names == (
        *("yes", "no", "1", "1.0", "null", "2024-01-01"),
    )


def test_json_and_yaml_give_the_same_taxonomy(tmp_path: Path) -> None:
    from_json = load_taxonomy(written(tmp_path, '{"labels": ["a", {"name": "b"}]}', "labels.json"))
    assert from_json.digest == load_taxonomy(written(tmp_path, "labels: [a, b]")).digest


def test_a_written_taxonomy_loads_with_the_same_digest(tmp_path: Path) -> None:
    taxonomy = Taxonomy(labels=(Label("b", aliases=("β",)), Label("a", parent="b")))
    write(tmp_path / "taxonomy.json", taxonomy)
    assert load_taxonomy(tmp_path / "taxonomy.json") == taxonomy
    assert load_taxonomy(tmp_path / "taxonomy.json").digest == taxonomy.digest


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("labels: [only]", "labels: a taxonomy needs at least two labels"),
        ("labels: [a, a]", "labels[1]: 'a' stands twice"),
        ("labels: [a, {name: b, parent: c}]", "labels[1].parent: 'c' is not a label"),
        ("labels: [a, {name: b, colour: red}]", "field labels[1]: Object contains unknown field `colour`"),
        ("labels: [a, {description: b}]", "field labels[1]: Object missing required field `name`"),
        ("labels: [a, [b]]", "field labels[1]"),
        ("labels: a", "field labels"),
        ("version: 2\nlabels: [a, b]", "upgrade tunelane"),
        ("names: [a, b]", "labels"),
        ("just words", "a taxonomy holds a list of labels"),
        ("", "a taxonomy holds a list of labels"),
        ("labels: [a", "is not valid YAML"),
    ],
)
def test_a_broken_taxonomy_names_file_and_field(tmp_path: Path, content: str, complaint: str) -> None:
    assert complaint in message_of(written(tmp_path, content))


def test_a_taxonomy_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert "No such file or directory" in message_of(tmp_path / "no.yaml")
    assert message_of(written(tmp_path, "a", "labels.txt")) == (
        "labels.txt: unknown kind of taxonomy. Pass a file that ends in .yaml, .yml, .json."
    )
    assert "is not valid JSON" in message_of(written(tmp_path, "{", "labels.json"))
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("labels: [café, b]".encode("latin-1"))
    assert "is not valid YAML" in message_of(latin)


def test_inferred_labels_stand_in_alphabetical_order_once() -> None:
    assert infer_taxonomy(["b", "a", "b", "C"]).names == ("C", "a", "b")


def test_a_single_class_says_which_it_is() -> None:
    with pytest.raises(InputError, match=r"Every row has the label 'spam'; a classifier needs at least two\."):
        infer_taxonomy(["spam", "spam"])
    with pytest.raises(InputError, match="No row has a label"):
        infer_taxonomy([])
