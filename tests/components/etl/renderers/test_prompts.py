import re
from hashlib import sha256
from pathlib import Path

import pytest

from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers.prompts import DEFAULT_PROMPT, PromptTemplate, load_prompt
from tunelane_serving.errors import InputError
from tunelane_serving.taxonomy import Label, Taxonomy

DOMAINS = Taxonomy(
    labels=(
        Label("language", "Talking, listening and early writing."),
        Label("grip", "Holds a pencil.", "fine motor"),
        Label("speaking", "Says words.", "language", ("talking", "speech")),
        Label("motor", "Moves the body."),
        Label("fine motor", "", "motor"),
    )
)
EMOTIONS = Taxonomy(labels=(Label("joy"), Label("sadness")))


def template(system: str = "Pick.", user: str = "{{ text }}") -> str:
    return f"{{% block system %}}\n{system}\n{{% endblock %}}\n{{% block user %}}\n{user}\n{{% endblock %}}\n"


def note(text: str = "Lena jumped.", **meta: str) -> Record:
    return Record(id="n-1", text=text, labels=("motor",), meta=dict(meta), image_uri="gs://photos/n-1.jpg")


def test_the_shipped_prompt_lists_a_taxonomy_as_a_tree() -> None:
    assert load_prompt().system(DOMAINS, multi_label=False) == (
        "Label the text that you are given: choose the one label from the list below that fits it best.\n"
        "Use the names exactly as they are written, and no label that is not in the list.\n"
        "A label that is indented is a narrower kind of the label above it.\n"
        "\n"
        "Labels:\n"
        "- language: Talking, listening and early writing.\n"
        "  - speaking: Says words. (also called talking, speech)\n"
        "- motor: Moves the body.\n"
        "  - fine motor\n"
        "    - grip: Holds a pencil.\n"
        "\n"
        "Answer with the name and nothing else."
    )


def test_the_shipped_prompt_says_how_to_answer_with_several_labels() -> None:
    system = load_prompt().system(EMOTIONS, multi_label=True)
    assert system.endswith('Answer with a JSON array of the names and nothing else, like ["joy","sadness"].')
    assert "indented" not in system
    assert "above it, too" in load_prompt().system(DOMAINS, multi_label=True)


def test_the_shipped_prompt_puts_the_text() -> None:
    assert load_prompt().user(EMOTIONS, multi_label=False)(note()) == "Text: Lena jumped."


def test_a_template_knows_all_that_is_known_of_a_row() -> None:
    prompt = PromptTemplate(
        template(
            "{{ taxonomy.names | length }} {{ multi_label }} {{ labels[0].name }}",
            "{{ meta.age }} {{ meta.room | default('no room') }} {{ image_uri }} {{ text }}",
        ),
        "p.jinja",
    )
    assert prompt.system(DOMAINS, multi_label=True) == "5 True language"
    assert prompt.user(DOMAINS, multi_label=True)(note(age="3")) == "3 no room gs://photos/n-1.jpg Lena jumped."


@pytest.mark.parametrize(
    "text", ["{{ 7 * 7 }}", "{% block system %}", "{# gone #}", "<b>&amp;</b>", "{% raw %}{{ x }}"]
)
def test_a_text_is_never_evaluated_and_never_escaped(text: str) -> None:
    taxonomy = Taxonomy(labels=(Label("a", description=text), Label("b")))
    prompt = load_prompt()
    assert prompt.user(taxonomy, multi_label=False)(note(text)) == f"Text: {text}"
    assert f"- a: {text}\n" in prompt.system(taxonomy, multi_label=False)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    assert load_prompt().digest == sha256(DEFAULT_PROMPT.read_bytes()).hexdigest()
    path = tmp_path / "p.jinja"
    path.write_text(template())
    assert load_prompt(path).digest != load_prompt().digest
    path.write_bytes(b"\xef\xbb\xbf" + template().encode())
    assert load_prompt(path).digest == PromptTemplate(template(), "p.jinja").digest


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (template("{{ labels | joined }}"), "p.jinja:2: not a prompt template: No filter named 'joined'. Correct it"),
        (template("{% for label in %}"), "p.jinja:2: not a prompt template: Expected an expression, got 'end of state"),
        (
            template("{{ tone }}"),
            "p.jinja:2: 'tone' is not known in block system. Use taxonomy, labels, multi_label, or",
        ),
        (template("{{ text }}"), "p.jinja:2: 'text' is not known in block system."),
        (
            template(user="{{ text }}\n{{ labls }}"),
            "p.jinja:6: 'labls' is not known in block user. Use taxonomy, labels",
        ),
        (template(user="Well?"), "p.jinja:4: block user never writes the text. Put {{ text }} into it."),
        (template("{% include 'rules.txt' %}"), "p.jinja:2: a prompt template is one file. Write"),
        ("{% block user %}{{ text }}{% endblock %}", "p.jinja: there is no block system. Write {% block system %}…"),
        ("{% block system %}x{% endblock %}", "p.jinja: there is no block user."),
        ("", "p.jinja: there is no block system."),
    ],
)
def test_a_broken_template_is_named_by_file_and_line(content: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        PromptTemplate(content, "p.jinja")
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("system", "complaint"),
    [
        ("{{ 1 / 0 }}", "p.jinja:2: block system cannot be written: division by zero. Correct the template."),
        (
            "x\n{{ labels[0].desc }}",
            "p.jinja:3: block system cannot be written: 'tunelane_serving.taxonomy.Label object'",
        ),
        (
            "{{ labels.__class__.__mro__ }}",
            "p.jinja:2: block system cannot be written: access to attribute '__class__'",
        ),
        ("{{ range(10 ** 9) | list }}", "p.jinja:2: block system cannot be written: Range too big."),
        ('{{ "\\ud800" }}', "p.jinja:1: block system cannot be written: 'utf-8' codec can't encode"),
    ],
)
def test_a_block_that_cannot_be_written_is_named_by_file_and_line(system: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        PromptTemplate(template(system), "p.jinja").system(EMOTIONS, multi_label=False)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_a_row_that_cannot_be_written_is_named_by_its_id() -> None:
    write = PromptTemplate(template(user="{{ text }}\n{{ meta.age }}"), "p.jinja").user(EMOTIONS, multi_label=False)
    assert write(note(age="3")) == "Lena jumped.\n3"
    message = "p.jinja:6: block user cannot be written for record 'n-1': 'dict object' has no attribute 'age'. Correct"
    with pytest.raises(InputError, match="^" + re.escape(message)):
        write(note())


def test_a_row_of_which_nothing_is_written_stops() -> None:
    prompt = PromptTemplate(template(user="{% if meta.age is defined %}{{ text }}{% endif %}"), "p.jinja")
    with pytest.raises(InputError, match="cannot be written for record 'n-1': nothing is written"):
        prompt.user(EMOTIONS, multi_label=False)(note())


def test_names_that_a_block_sets_itself_are_known() -> None:
    content = template(
        "{% set names = labels | map(attribute='name') | list %}{% macro bold(x) %}*{{ x }}*{% endmacro %}"
        "{% for name in names %}{{ loop.index }}{{ bold(name) }}{% endfor %}"
    )
    assert PromptTemplate(content, "p.jinja").system(EMOTIONS, multi_label=False) == "1*joy*2*sadness*"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Cannot read the prompt template .*p\.jinja: No such file"):
        load_prompt(tmp_path / "p.jinja")
    (tmp_path / "p.jinja").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"^p\.jinja is not UTF-8\."):
        load_prompt(tmp_path / "p.jinja")
