"""Files to read, and how they read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import pytest

from tunelane_components.etl.rows.row import MalformedRow, Row
from tunelane_components.etl.sources.chunks import Chunk
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.sources.find import find_sources
from tunelane_components.etl.sources.reading import SourceReader, rows_of
from tunelane_serving.errors import InputError


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file under the test's directory."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture(scope="session")
def read() -> Callable[..., tuple[list[Row | MalformedRow], SourceFacts]]:
    """Read one file as a build does: every chunk goes through MessagePack, as on its way to another process."""

    def rows_and_facts(
        data: str | Path, source_format: str = "", **options: Any
    ) -> tuple[list[Row | MalformedRow], SourceFacts]:
        [source] = find_sources(str(data), source_format=source_format).files
        encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Chunk).decode
        with SourceReader(source, **options) as reader:
            rows = [row for chunk in reader.chunks() for row in rows_of(decode(encode(chunk)))]
            return rows, reader.facts

    return rows_and_facts


@pytest.fixture(scope="session")
def message_of() -> Callable[..., Any]:
    """Give a context that expects an InputError of one line, and holds its message afterwards."""

    @contextmanager
    def expected() -> Iterator[list[str]]:
        messages: list[str] = []
        with pytest.raises(InputError) as caught:
            yield messages
        messages.append(str(caught.value))
        assert "\n" not in messages[0]
        assert caught.value.exit_code == 2

    return expected


@pytest.fixture
def remote() -> fsspec.AbstractFileSystem:
    """An empty remote file system under memory://."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    return files
