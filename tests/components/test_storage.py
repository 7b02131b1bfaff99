import logging
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fsspec
import pytest

from tunelane_components.storage import download, filesystem, local_copy
from tunelane_serving.errors import InputError


@pytest.fixture
def remote() -> fsspec.AbstractFileSystem:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pipe_file("/bucket/rows.csv", b"text,label\n")
    files.pipe_file("/bucket/model/config.json", b"{}")
    files.pipe_file("/bucket/model/onnx/model.onnx", b"graph")
    return files


def test_a_local_path_is_used_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a file.csv"
    file.write_text("x")
    scratch = tmp_path / "scratch"
    assert local_copy(str(file), scratch, what="data") == file
    assert local_copy(file.as_uri(), scratch, what="data") == file
    assert local_copy(str(tmp_path), scratch, what="checkpoint") == tmp_path
    assert not scratch.exists()


def test_a_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rows.csv").write_text("x")
    assert local_copy("~/rows.csv", tmp_path / "scratch", what="data") == tmp_path / "rows.csv"


@pytest.mark.usefixtures("remote")
def test_a_remote_file_is_downloaded_under_its_name(tmp_path: Path) -> None:
    path = local_copy("memory://bucket/rows.csv", tmp_path / "scratch", what="data")
    assert path == tmp_path / "scratch" / "rows.csv"
    assert path.read_bytes() == b"text,label\n"


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("uri", ["memory://bucket/model", "memory://bucket/model/"])
def test_a_remote_directory_is_downloaded_whole(tmp_path: Path, uri: str) -> None:
    path = local_copy(uri, tmp_path, what="base_model")
    assert path == tmp_path / "model"
    assert (path / "config.json").read_bytes() == b"{}"
    assert (path / "onnx" / "model.onnx").read_bytes() == b"graph"


@pytest.mark.usefixtures("remote")
def test_a_download_replaces_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "stale").write_text("x")
    download("memory://bucket/model", target, what="checkpoint")
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "onnx"]


def test_a_download_that_breaks_off_leaves_nothing(
    remote: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: object, _path: str, local_path: str, **_: object) -> None:
        Path(local_path).write_bytes(b"half")
        raise ConnectionError("connection\nreset")

    monkeypatch.setattr(type(remote), "get_file", broken)
    for uri in ("memory://bucket/rows.csv", "memory://bucket/model"):
        with pytest.raises(InputError, match=f"^Cannot read data {uri}: connection reset$"):
            local_copy(uri, tmp_path / "scratch", what="data")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_object_name_cannot_leave_the_target(
    remote: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(remote), "find", lambda *_, **__: ["/bucket/model/../../escaped"])
    with pytest.raises(InputError, match="leaves the directory"):
        download("memory://bucket/model", tmp_path / "model", what="base_model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("remote")
@pytest.mark.parametrize("uri", ["/no/such.csv", "file:///no/such.csv", "memory://bucket/no/such.csv"])
def test_what_is_missing_is_named_with_the_parameter_that_asked_for_it(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError) as caught:
        local_copy(uri, tmp_path, what="data")
    assert str(caught.value) == (f"No such file or directory: {uri}. Pass --set data=PATH or a gs:// URI that exists.")


def test_an_unknown_scheme_and_an_empty_uri_say_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^Cannot read data nope://x: .*Use a local path or a gs:// URI\.$"):
        local_copy("nope://x", tmp_path, what="data")
    with pytest.raises(InputError, match=r"^No checkpoint was given\. Pass --set checkpoint="):
        local_copy(" ", tmp_path, what="checkpoint")


@pytest.mark.parametrize(
    "uri", ["gs://", "gs:///rows.csv", "gs://x/rows.csv", "gs://Upper/rows.csv", "gs://*/rows.csv"]
)
def test_what_can_be_no_bucket_is_not_looked_for(uri: str) -> None:
    with pytest.raises(InputError, match=r"^Cannot read data gs://.*is no name of a bucket\. Pass gs://BUCKET/PATH\.$"):
        filesystem(uri, what="data")


def test_a_local_path_does_not_import_fsspec(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tunelane_components.storage import local_copy; "
        f"local_copy({str(tmp_path)!r}, Path({str(tmp_path)!r}), what='data'); sys.exit('fsspec' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_cloud_storage_refuses_is_one_line_without_a_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(400)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        try:
            with caplog.at_level(logging.INFO), pytest.raises(InputError) as caught:
                download("gs://somebody-elses/rows.csv", tmp_path / "rows.csv", what="data")
        finally:
            server.shutdown()
    assert "\n" not in str(caught.value)
    # Of gcsfs, which would log a traceback: another library may still say something of an earlier test.
    assert [record.getMessage() for record in caplog.records if record.name.startswith(("gcsfs", "fsspec"))] == []
