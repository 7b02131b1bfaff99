"""Where a build keeps what it is not done with: files in a directory, or objects below a URI that many machines see."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tunelane_components.storage import filesystem, local_path, one_line
from tunelane_serving.errors import TunelaneError


class Workspace:
    """Named pieces of bytes below one root.

    What a remote file system refuses is raised as a TunelaneError of one line.
    """

    def __init__(self, root: str) -> None:
        """Use the local directory or the fsspec URI `root`, which need not be there yet."""
        self.root = root
        self._remote = filesystem(root, what="workspace") if local_path(root) is None else None

    def write(self, name: str, content: bytes) -> None:
        """Write the piece `name`; an existing one is replaced, as by a second try of the task that leaves it."""
        if self._remote is not None:
            system, root = self._remote
            with self._one_line_errors():
                system.pipe_file(f"{root}/{name}", content)
            return
        path = Path(self.root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Read the piece `name`, or its bytes from `start` to before `end`; nothing where there is no such piece."""
        try:
            if self._remote is not None:
                with self._one_line_errors(FileNotFoundError):
                    system, root = self._remote
                    return bytes(system.cat_file(f"{root}/{name}", start=start, end=end))
            with (Path(self.root) / name).open("rb") as stream:
                stream.seek(start)
                return stream.read() if end is None else stream.read(end - start)
        except FileNotFoundError:
            return b""

    def remove(self) -> None:
        """Remove everything, as far as that can be done: a build that has ended does not fail for what it leaves."""
        import shutil

        if self._remote is not None:
            system, root = self._remote
            with suppress(Exception):
                system.rm(root, recursive=True)
            return
        shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def _one_line_errors(self, *passed_on: type[Exception]) -> Iterator[None]:
        """Every fsspec implementation has its own errors."""
        try:
            yield
        except passed_on:
            raise
        except Exception as error:
            raise TunelaneError(f"Cannot use the workspace {self.root}: {one_line(error)}") from error
