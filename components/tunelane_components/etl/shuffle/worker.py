"""A worker process: a plan on standard input, then tasks; the outcome of each on standard output."""

import os
import struct
import sys
from typing import IO

import msgspec

from tunelane_components.etl.shuffle.plan import Plan
from tunelane_components.etl.shuffle.tasks import Outcome, Task, perform
from tunelane_serving.errors import InputError, TunelaneError

_LENGTH = struct.Struct(">Q")


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """An error of a task, as it crosses to the process that asked for it."""

    message: str
    is_input_error: bool


Answer = Outcome | Failure


def write_message(stream: IO[bytes], content: bytes) -> None:
    """Write one message: eight bytes of its length, and itself."""
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes:
    """Read one message; nothing at the end of the stream."""
    head = stream.read(_LENGTH.size)
    return stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""


def outcome_of(answer: Answer) -> Outcome:
    """Give the outcome that an answer is.

    Raises:
        TunelaneError: it is an error; an InputError if it was one.
    """
    if isinstance(answer, Failure):
        raise (InputError if answer.is_input_error else TunelaneError)(answer.message)
    return answer


def main() -> None:
    """Serve tasks until standard input ends, as it does also when the other side was killed."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What a library prints must not get between the messages.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # There is a worker for each core; each of them starting as many threads would only make them wait.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    decode, encode = msgspec.msgpack.Decoder(Task).decode, msgspec.msgpack.Encoder().encode
    plan = msgspec.msgpack.decode(read_message(requests), type=Plan)
    while content := read_message(requests):
        answer: Answer
        try:
            answer = perform(decode(content), plan)
        except TunelaneError as error:
            answer = Failure(str(error), isinstance(error, InputError))
        except OSError as error:
            # A disk that is full names no file.
            place = error.filename or "the dataset"
            said = f"Cannot read or write {place}: {error.strerror}. Check who may use it, and that the disk has room."
            answer = Failure(said, True)
        write_message(answers, encode(answer))


if __name__ == "__main__":
    main()
