"""Chats for TRL's SFTTrainer, which puts them into the model's own chat template.

The format is TRL's conversational language modeling: https://huggingface.co/docs/trl/dataset_formats
"""

from typing import Literal

import msgspec

from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers.examples import ExampleMaker


class Message(msgspec.Struct, frozen=True):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Messages(msgspec.Struct, frozen=True):
    """One line of the format `messages`."""

    messages: list[Message]


def render_messages(record: Record, examples: ExampleMaker) -> bytes:
    """Write {"messages": [system, user, assistant]}; no system message where the template's is empty. No image."""
    user, answer = examples.make(record)
    chat = [Message("system", examples.system)] if examples.system else []
    return msgspec.json.encode(Messages([*chat, Message("user", user), Message("assistant", answer)]))
