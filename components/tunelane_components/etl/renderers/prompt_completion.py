"""A prompt and its completion as two texts, under the newer names and the older.

The fields of the first are TRL's standard prompt-completion format: https://huggingface.co/docs/trl/dataset_formats
"""

import msgspec

from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers.examples import ExampleMaker


class PromptCompletion(msgspec.Struct, frozen=True):
    """One line of the format `prompt_completion`."""

    prompt: str
    completion: str


class InputOutput(msgspec.Struct, frozen=True):
    """One line of the format `input_output`."""

    input_text: str
    output_text: str


def render_prompt_completion(record: Record, examples: ExampleMaker) -> bytes:
    """Write {"prompt", "completion"}. An image has no place in it."""
    return msgspec.json.encode(PromptCompletion(*_prompt_and_completion(record, examples)))


def render_input_output(record: Record, examples: ExampleMaker) -> bytes:
    """Write {"input_text", "output_text"}, the same content under the older names."""
    return msgspec.json.encode(InputOutput(*_prompt_and_completion(record, examples)))


def _prompt_and_completion(record: Record, examples: ExampleMaker) -> tuple[str, str]:
    """Put system part and text into one prompt.

    It ends in one line break: a trainer tokenises the prompt alone and with the completion, and tokenizers split both
    at a single line break alike, which they do not after a space or an empty line.
    """
    user, answer = examples.make(record)
    return (f"{examples.system}\n\n{user}\n" if examples.system else f"{user}\n"), answer
