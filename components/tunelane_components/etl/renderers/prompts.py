"""Prompt templates: what an LLM is told about a taxonomy, and how a text is put to it."""

import codecs
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tunelane_components.etl.record import Record
from tunelane_serving.errors import InputError
from tunelane_serving.files import sha256_bytes
from tunelane_serving.taxonomy import Taxonomy

if TYPE_CHECKING:
    from jinja2 import Environment, Template

DEFAULT_PROMPT = Path(__file__).parent / "templates" / "prompt.jinja"

_SYSTEM_NAMES = ("taxonomy", "labels", "multi_label")
_NAMES_BY_BLOCK = {"system": _SYSTEM_NAMES, "user": (*_SYSTEM_NAMES, "text", "meta", "image_uri")}


class PromptTemplate:
    """A template with a block `system`, written once for a dataset, and a block `user`, written once for each row.

    It is Jinja2 in a sandbox: values are put in as they are (a text that holds Jinja's marks is never evaluated), and a
    name that is not known is an error. White space around a written block is cut off.

    Attributes:
        name: the file's name, for errors.
        digest: SHA-256 of the template as it was read.
    """

    def __init__(self, content: str, name: str) -> None:
        """Compile `content`.

        Raises:
            InputError: it is no template, lacks a block, or uses a name that is not known; with file and line.
        """
        self.name = name
        self.digest = sha256_bytes(content.encode())
        self._template = _compiled(content, name)

    def system(self, taxonomy: Taxonomy, *, multi_label: bool) -> str:
        """Write the part that all rows share; raises InputError with file and line where it cannot be written."""
        return self._written("system", _shared_values(taxonomy, multi_label), "")

    def user(self, taxonomy: Taxonomy, *, multi_label: bool) -> Callable[[Record], str]:
        """Give a function that writes the part of one row; it raises InputError with file, line and the record's id."""
        shared = _shared_values(taxonomy, multi_label)

        def written(record: Record) -> str:
            values = {**shared, "text": record.text, "meta": record.meta, "image_uri": record.image_uri}
            return self._written("user", values, record.id)

        return written

    def _written(self, block: str, values: Mapping[str, Any], record_id: str) -> str:
        """Write one block alone. A template may raise anything: 1 / 0, a missing attribute, a forbidden one."""
        try:
            context = self._template.new_context(dict(values))
            written = "".join(self._template.blocks[block](context)).strip()
            # A template can make half of a surrogate pair, which no file can hold.
            written.encode()
            if block == "user" and not written:
                raise ValueError("nothing is written")
        except Exception as error:
            reason = (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
            place = f"{self.name}:{self._line_of(error)}: block {block}"
            if not record_id:
                raise InputError(f"{place} cannot be written: {reason}. Correct the template.") from error
            raise InputError(
                f"{place} cannot be written for record {record_id!r}: {reason}. "
                "Correct the template; a key of meta that a row may lack needs | default('')."
            ) from error
        return written

    def _line_of(self, error: Exception) -> int:
        """Give the line of the template that an error arose on: the innermost frame that is the template's."""
        line, trace = 1, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self._template.filename:
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line


def load_prompt(path: Path | None = None) -> PromptTemplate:
    """Read a prompt template; None gives the one that is shipped.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or is no prompt template; with file and line.
    """
    path = path or DEFAULT_PROMPT
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8).decode()
    except OSError as error:
        raise InputError(
            f"Cannot read the prompt template {path}: {error.strerror}. Pass a file that exists."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8. Save the prompt template as UTF-8 text.") from error
    return PromptTemplate(content, path.name)


def _shared_values(taxonomy: Taxonomy, multi_label: bool) -> dict[str, Any]:
    return {"taxonomy": taxonomy, "labels": taxonomy.labels, "multi_label": multi_label}


def _compiled(content: str, name: str) -> "Template":
    """Parse and check a template, then compile it."""
    from jinja2 import TemplateSyntaxError, nodes

    environment = _environment()
    try:
        tree = environment.parse(content)
        # Filters and tests that do not exist are found when it is compiled.
        template = environment.from_string(tree)
    except TemplateSyntaxError as error:
        reason = " ".join((error.message or "").split()).rstrip(".")
        raise InputError(f"{name}:{error.lineno}: not a prompt template: {reason}. Correct it as Jinja2.") from error
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise InputError(f"{name}:{node.lineno}: a prompt template is one file. Write what it takes from others here.")
    for block in _NAMES_BY_BLOCK:
        if block not in template.blocks:
            raise InputError(
                f"{name}: there is no block {block}. Write {{% block system %}}…{{% endblock %}} for all rows and "
                "{% block user %}…{% endblock %} for each row."
            )
    for line, unknown, block in _unknown_names(tree, environment):
        known = ", ".join(_NAMES_BY_BLOCK[block])
        raise InputError(f"{name}:{line}: {unknown!r} is not known in block {block}. Use {known}, or set it in there.")
    user = next(block for block in tree.find_all(nodes.Block) if block.name == "user")
    if all(node.name != "text" for node in user.find_all(nodes.Name)):
        raise InputError(f"{name}:{user.lineno}: block user never writes the text. Put {{{{ text }}}} into it.")
    return template


def _unknown_names(tree: Any, environment: "Environment") -> Iterator[tuple[int, str, str]]:
    """Yield line, name and block of what a block uses and nobody gives, before any row is read."""
    from jinja2 import meta, nodes

    for block in tree.find_all(nodes.Block):
        if block.name not in _NAMES_BY_BLOCK:
            continue
        alone = nodes.Template(block.body, lineno=1)
        alone.set_environment(environment)
        unknown = meta.find_undeclared_variables(alone) - set(environment.globals) - set(_NAMES_BY_BLOCK[block.name])
        for node in block.find_all(nodes.Name):
            if node.name in unknown:
                yield node.lineno, node.name, block.name


def _environment() -> "Environment":
    # Imported here: whoever asks for the other formats should not pay for it.
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        autoescape=False,  # a prompt is no HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda value: msgspec.json.encode(value).decode()
    return environment
