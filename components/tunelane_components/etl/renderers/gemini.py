"""Examples for the supervised fine-tuning of Gemini models on Vertex AI.

Names and nesting are those of
https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning/prepare-data
(before: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare).
"""

from typing import Literal

import msgspec

from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers.examples import ExampleMaker
from tunelane_components.etl.rows.image_types import mime_type_of
from tunelane_serving.errors import InputError


class FileData(msgspec.Struct, frozen=True, rename="camel"):
    """A file beside the text; `file_uri` is a gs:// URI or a public http(s) address."""

    mime_type: str
    file_uri: str


class Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A piece of a turn: a text or a file."""

    text: str = ""
    file_data: FileData | None = None


class Content(msgspec.Struct, frozen=True):
    """One turn."""

    role: Literal["system", "user", "model"]
    parts: list[Part]


class GeminiExample(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """One line of the format `gemini`."""

    system_instruction: Content | None = None
    contents: list[Content]


def render_gemini(record: Record, examples: ExampleMaker) -> bytes:
    """Write systemInstruction, and contents of the roles user and model; an image stands before the text.

    Raises:
        InputError: the record's image is of no type that Gemini takes.
    """
    user, answer = examples.make(record)
    parts = [Part(text=user)]
    if record.image_uri:
        mime_type = mime_type_of(record.image_uri)
        if not mime_type:
            raise InputError(
                f"Record {record.id!r}: Gemini takes no image like {record.image_uri[-80:]!r}. "
                "Convert it to JPEG, PNG, WebP or HEIC, or build without --set image_field."
            )
        parts.insert(0, Part(file_data=FileData(mime_type, record.image_uri)))
    system = Content("system", [Part(text=examples.system)]) if examples.system else None
    contents = [Content("user", parts), Content("model", [Part(text=answer)])]
    return msgspec.json.encode(GeminiExample(system_instruction=system, contents=contents))
