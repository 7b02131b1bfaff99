import uuid
from pathlib import Path

import pytest

from tunelane_components.etl.shuffle.workspace import Workspace
from tunelane_serving.errors import TunelaneError


@pytest.fixture(params=["local", "memory"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "work") if request.param == "local" else f"memory://{uuid.uuid4()}/work")


def test_a_piece_is_read_whole_or_in_part(workspace: Workspace) -> None:
    workspace.write("parts/1", b"0123456789")
    assert workspace.read("parts/1") == b"0123456789"
    assert workspace.read("parts/1", 3, 5) == b"34"
    assert workspace.read("parts/1", 4, 4) == b""


def test_a_second_try_replaces_a_piece(workspace: Workspace) -> None:
    workspace.write("a", b"first, and longer")
    workspace.write("a", b"second")
    assert workspace.read("a") == b"second"


def test_a_piece_that_is_not_there_is_empty(workspace: Workspace) -> None:
    assert workspace.read("nothing") == b""


def test_nothing_is_left_of_what_was_removed(workspace: Workspace) -> None:
    workspace.write("parts/1", b"x")
    workspace.remove()
    assert workspace.read("parts/1") == b""
    workspace.remove()


def test_what_a_remote_file_system_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    workspace = Workspace(f"local://{tmp_path}/file")  # a root that can hold nothing, by fsspec
    with pytest.raises(TunelaneError, match=r"^Cannot use the workspace local:.*: Not a directory$"):
        workspace.write("a", b"x")
    with pytest.raises(TunelaneError, match=r"^Cannot use the workspace local:.*: Not a directory$"):
        workspace.read("a")
    workspace.remove()
