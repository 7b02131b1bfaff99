"""What is wrong with one row of a finished dataset: its fields, its labels, and who speaks when."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from tunelane_components.etl.checking.forms import FORMS
from tunelane_components.etl.renderers.completion import labels_of
from tunelane_components.etl.rows.image_types import MIME_TYPE_BY_SUFFIX, mime_type_of
from tunelane_serving.taxonomy import Taxonomy

Values = dict[str, Any]
Faults = list[tuple[str, str]]  # code and message

_IMAGE_TYPES = frozenset(MIME_TYPE_BY_SUFFIX.values())
_KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
}
_SHOWN_CHARACTERS = 80
# Looking for the nearest label costs as much as a hundred rows; whole files of unknown labels must not.
_NEAREST_LABELS = 200


class LabelChecker:
    """Checks the labels of rows against a taxonomy, if there is one."""

    def __init__(self, taxonomy: Taxonomy | None) -> None:
        self._known = frozenset(taxonomy.names) if taxonomy else None
        self._name_by_spelling = taxonomy.name_by_spelling if taxonomy else {}
        self._said: dict[str, str] = {}

    def check(self, labels: Sequence[str], faults: Faults) -> None:
        """Add what is wrong with the labels of one row."""
        if not labels:
            faults.append(("missing_label", "there is no label"))
        elif len(labels) > 1 and len(set(labels)) < len(labels):
            faults.append(("repeated_label", "a label stands twice"))
        if self._known is not None and not self._known.issuperset(labels):
            for label in dict.fromkeys(labels):
                if label not in self._known:
                    faults.append(("unknown_label", self._unknown(label)))

    def _unknown(self, label: str) -> str:
        if label in self._name_by_spelling:
            return f"label {_shown(label)} is an alias; write {_shown(self._name_by_spelling[label])}"
        message = self._said.get(label, f"label {_shown(label)} is not in the taxonomy")
        if label not in self._said and len(self._said) < _NEAREST_LABELS:
            # Compared in lower case, as a different case is the likeliest slip.
            name_by_lower = {spelling.lower(): name for spelling, name in self._name_by_spelling.items()}
            lower = label[:_SHOWN_CHARACTERS].lower()
            near = difflib.get_close_matches(lower, name_by_lower, n=1, cutoff=0.0)[0]
            message += f"; the nearest is {_shown(name_by_lower[near])}"
            self._said[label] = message
        return message


def faults_of(row: Values, form: str, labels: LabelChecker) -> Faults:
    """List code and message of all that is wrong with a row of the form `form`."""
    faults: Faults = []
    required = FORMS[form].required
    for field in required:
        if field not in row:
            faults.append(("missing_field", f"there is no field {field!r}"))
    if len(row) > len(required) or faults:
        _add_unknown(row, (*required, *FORMS[form].optional), "", faults)
    _CHECK_BY_FORM[form](row, labels, faults)
    return faults


def _check_classification(row: Values, labels: LabelChecker, faults: Faults) -> None:
    _is_text(row, "id", "", faults)
    _is_text(row, "text", "", faults)
    if "labels" in row:
        names = row["labels"]
        if type(names) is not list:
            faults.append(("wrong_type", f"labels is {_KINDS[type(names)]}; write a list of names"))
        else:
            usable = [name for place, name in enumerate(names) if _is_name(name, place, faults)]
            if len(usable) == len(names):
                labels.check(names, faults)
    if "image_uri" in row and _is_text(row, "image_uri", "", faults) and not mime_type_of(row["image_uri"]):
        message = f"image_uri {_shown(row['image_uri'])} does not end in one of {', '.join(MIME_TYPE_BY_SUFFIX)}"
        faults.append(("unsupported_image", message))
    if "meta" in row:
        _is_object(row["meta"], "meta", faults)
    if "version" in row and row["version"] != 1:
        faults.append(("wrong_version", f"version is {_shown(row['version'])}; this release reads version 1"))


def _check_two_texts(row: Values, labels: LabelChecker, faults: Faults, question: str, answer: str) -> None:
    _is_text(row, question, "", faults)
    if _is_text(row, answer, "", faults):
        labels.check(labels_of(row[answer]), faults)


def _check_prompt_completion(row: Values, labels: LabelChecker, faults: Faults) -> None:
    _check_two_texts(row, labels, faults, "prompt", "completion")


def _check_input_output(row: Values, labels: LabelChecker, faults: Faults) -> None:
    _check_two_texts(row, labels, faults, "input_text", "output_text")


def _check_messages(row: Values, labels: LabelChecker, faults: Faults) -> None:
    messages = _objects(row, "messages", "", faults)
    for place, message in messages:
        where = f"messages[{place}]."
        _add_unknown(message, ("role", "content"), where, faults)
        _is_text(message, "role", where, faults)
        _is_text(message, "content", where, faults)
    if faults or not messages:
        return
    roles = [message["role"] for _, message in messages]
    if _take_turns(roles[1:] if roles[0] == "system" else roles, "user", "assistant", faults):
        labels.check(labels_of(messages[-1][1]["content"]), faults)


def _check_gemini(row: Values, labels: LabelChecker, faults: Faults) -> None:
    contents = _objects(row, "contents", "", faults)
    for place, content in contents:
        _is_text(content, "role", f"contents[{place}].", faults)
        _check_content(content, f"contents[{place}].", faults)
    if "systemInstruction" in row and _is_object(row["systemInstruction"], "systemInstruction", faults):
        _check_content(row["systemInstruction"], "systemInstruction.", faults)
    if "generationConfig" in row:
        _is_object(row["generationConfig"], "generationConfig", faults)
    if faults or not contents or not _take_turns([content["role"] for _, content in contents], "user", "model", faults):
        return
    place, answer = contents[-1]
    if all("text" in part for part in answer["parts"]):
        labels.check(labels_of("".join(part["text"] for part in answer["parts"])), faults)
    else:
        faults.append(("missing_label", f"contents[{place}] answers with a file; write the label"))


def _check_content(content: Values, where: str, faults: Faults) -> None:
    _add_unknown(content, ("role", "parts"), where, faults)
    for place, part in _objects(content, "parts", where, faults):
        inside = f"{where}parts[{place}]"
        _add_unknown(part, ("text", "fileData"), f"{inside}.", faults)
        if ("text" in part) == ("fileData" in part):
            faults.append(("wrong_type", f"{inside} needs text or fileData, and one of them"))
        elif "text" in part:
            _is_text(part, "text", f"{inside}.", faults)
        elif _is_object(part["fileData"], f"{inside}.fileData", faults):
            _check_file(part["fileData"], f"{inside}.fileData.", faults)


def _check_file(file: Values, where: str, faults: Faults) -> None:
    _add_unknown(file, ("mimeType", "fileUri"), where, faults)
    _is_text(file, "fileUri", where, faults)
    if _is_text(file, "mimeType", where, faults) and file["mimeType"] not in _IMAGE_TYPES:
        message = f"{where}mimeType is {_shown(file['mimeType'])}; write one of {', '.join(sorted(_IMAGE_TYPES))}"
        faults.append(("unsupported_image", message))


_CHECK_BY_FORM: dict[str, Callable[[Values, LabelChecker, Faults], None]] = {
    "classification": _check_classification,
    "prompt_completion": _check_prompt_completion,
    "input_output": _check_input_output,
    "messages": _check_messages,
    "gemini": _check_gemini,
}


def _is_text(row: Values, field: str, where: str, faults: Faults) -> bool:
    """Say whether a field is a text with something in it, and add what else it is."""
    if field not in row:
        _add_missing(field, where, faults)
        return False
    value = row[field]
    if type(value) is not str:
        faults.append(("wrong_type", f"{where}{field} is {_KINDS[type(value)]}; write a text"))
        return False
    if not value or value.isspace():
        faults.append(("empty_field", f"{where}{field} is empty"))
        return False
    return True


def _is_name(label: Any, place: int, faults: Faults) -> bool:
    if type(label) is str and label:
        return True
    if label == "":
        faults.append(("empty_field", f"labels[{place}] is empty"))
    else:
        faults.append(("wrong_type", f"labels[{place}] is {_KINDS[type(label)]}; write a name"))
    return False


def _is_object(value: Any, name: str, faults: Faults) -> bool:
    if type(value) is dict:
        return True
    faults.append(("wrong_type", f"{name} is {_KINDS[type(value)]}; write an object"))
    return False


def _objects(row: Values, field: str, where: str, faults: Faults) -> list[tuple[int, Values]]:
    """Give the objects of a list with their places, and add what is no list, no object or nothing."""
    if field not in row:
        _add_missing(field, where, faults)
        return []
    items = row[field]
    if type(items) is not list:
        faults.append(("wrong_type", f"{where}{field} is {_KINDS[type(items)]}; write a list"))
        return []
    if not items:
        faults.append(("empty_field", f"{where}{field} is empty"))
    return [(place, item) for place, item in enumerate(items) if _is_object(item, f"{where}{field}[{place}]", faults)]


def _take_turns(roles: list[str], asks: str, answers: str, faults: Faults) -> bool:
    """Say whether the two take turns and the last answers, and add where they do not."""
    if roles and roles == [asks, answers] * (len(roles) // 2):
        return True
    shown = ", ".join(roles)[:_SHOWN_CHARACTERS] or "none"
    faults.append(("wrong_role", f"the roles are {shown}; {asks} and {answers} take turns, and {answers} is the last"))
    return False


def _add_missing(field: str, where: str, faults: Faults) -> None:
    """Add a field that is missing within another; those of the row itself are added already."""
    if where:
        faults.append(("missing_field", f"there is no field {where + field!r}"))


def _add_unknown(row: Values, known: Sequence[str], where: str, faults: Faults) -> None:
    for field in row:
        if field not in known:
            near = difflib.get_close_matches(field[:_SHOWN_CHARACTERS], known, n=1, cutoff=0.7)
            meant = f"; is {near[0]!r} meant?" if near else ""
            faults.append(("unknown_field", f"unknown field {_shown(where + field)}{meant}"))


def _shown(value: Any) -> str:
    """Quote a value on one line, cut short."""
    return repr(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value)[: _SHOWN_CHARACTERS + 2]
