"""The connection: tokens, certificates, what kfp.Client would do by itself, and answers that are none."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.cloud.kubeflow.installation import FakeKubeflow
from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.errors import NoSuchResource, NotAllowed, Refused, ServiceAway
from tunelane_pipelines.targets.kubeflow.client import Api
from tunelane_serving.errors import InputError

_TOKEN = "open-sesame"  # noqa: S105 - the fake's


def _list(settings: KubeflowSettings) -> Any:
    return Api(settings).call("run", "list_runs")


@pytest.fixture
def guarded() -> Iterator[FakeKubeflow]:
    """An installation that wants a token."""
    with FakeKubeflow(token=_TOKEN) as fake:
        yield fake


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def encrypted(authority: trustme.CA) -> Iterator[FakeKubeflow]:
    """An installation with a certificate of an authority of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakeKubeflow(tls=context) as fake:
        yield fake


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that gives everybody the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_opening_the_client_asks_nothing_and_writes_nothing(fake: FakeKubeflow, home: Path) -> None:
    for namespace in ("", "kubeflow", "language"):
        Api(KubeflowSettings(host=fake.host, namespace=namespace))._client  # noqa: B018 - it is made there
    assert fake.calls == []
    assert not list(home.iterdir())


def test_a_token_of_the_settings_is_borne(guarded: FakeKubeflow) -> None:
    _list(KubeflowSettings(host=guarded.host, token=_TOKEN))
    with pytest.raises(NotAllowed, match=r"Renew kubeflow\.token"):
        _list(KubeflowSettings(host=guarded.host))


def test_a_token_file_is_read_anew_for_every_call(guarded: FakeKubeflow, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("an old one\n")
    api = Api(KubeflowSettings(host=guarded.host, token_file=path))
    with pytest.raises(NotAllowed):
        api.call("run", "list_runs")
    path.write_text(f"{_TOKEN}\n")
    api.call("run", "list_runs")
    path.unlink()
    with pytest.raises(InputError, match=f"Cannot read {path}"):
        api.call("run", "list_runs")


@pytest.mark.parametrize("written", [f"{_TOKEN}\n", f" {_TOKEN}\r\n\n"])
def test_the_line_s_end_of_a_token_is_not_sent(guarded: FakeKubeflow, tmp_path: Path, written: str) -> None:
    path = tmp_path / "token"
    path.write_text(written)
    _list(KubeflowSettings(host=guarded.host, token=written))
    _list(KubeflowSettings(host=guarded.host, token_file=path))


@pytest.mark.parametrize("written", ["open-sesame\nclose-sesame", "open-sesame…", "open-sesame\x00"])
def test_what_cannot_be_sent_as_a_token_is_refused_and_not_shown(
    fake: FakeKubeflow, tmp_path: Path, written: str
) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xff" + written.encode())
    for given, where in (({"token": written}, "kubeflow.token"), ({"token_file": path}, str(path))):
        with pytest.raises(InputError, match=f"^{where} is no token: one line of plain characters") as raised:
            _list(KubeflowSettings(host=fake.host, **given))
        assert "sesame" not in str(raised.value)
    assert fake.calls == []


def test_a_token_file_that_cannot_be_read_is_one_line(
    fake: FakeKubeflow, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match=rf"Cannot read {tmp_path}: Is a directory\. Check kubeflow\.token_file\."):
        _list(KubeflowSettings(host=fake.host, token_file=tmp_path))
    assert caplog.messages == []


def test_no_browser_is_opened_for_a_token(fake: FakeKubeflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "client")
    with pytest.raises(NotAllowed, match="KF_PIPELINES_IAP_OAUTH2_CLIENT_ID is set"):
        _list(KubeflowSettings(host=fake.host))
    _list(KubeflowSettings(host=fake.host, token=_TOKEN))
    with pytest.raises(NotAllowed, match="gcloud auth print-access-token"):
        monkeypatch.delenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID")
        _list(KubeflowSettings(host="https://1a2b-dot-europe-west4.pipelines.googleusercontent.com"))


def test_an_authority_of_one_s_own_is_trusted_where_it_is_named(
    encrypted: FakeKubeflow, authority: trustme.CA, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    _list(KubeflowSettings(host=encrypted.host, ca_file=path))
    with pytest.raises(InputError, match=r"No safe connection to https://.*Set kubeflow\.ca_file"):
        _list(KubeflowSettings(host=encrypted.host))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, r"No Kubeflow host\. Set kubeflow\.host"),
        ({"host": "kubeflow.example.org"}, "start it with https://"),
        ({"host": "https://ann:secret@h/pipeline"}, r"^kubeflow\.host has a name or a password in it\. Leave that out"),
        ({"host": "ann:secret@h"}, r"^kubeflow\.host has a name or a password in it\. Leave that out"),
        ({"host": "https://secret@h"}, r"^kubeflow\.host has a name or a password in it\. Leave that out"),
        ({"host": "https://h", "token_file": "nowhere"}, r"Cannot read nowhere\."),
        ({"host": "https://h", "ca_file": "nowhere"}, r"Cannot read nowhere\."),
    ],
)
def test_settings_that_cannot_be_used_are_refused_before_anything_is_opened(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as raised:
        Api(KubeflowSettings(**settings))
    assert "secret" not in str(raised.value)


def test_a_broken_context_of_kfp_s_is_named(fake: FakeKubeflow, home: Path) -> None:
    path = home / ".config" / "kfp" / "context.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(InputError, match=f"{path} is broken"):
        _list(KubeflowSettings(host=fake.host))


def test_a_machine_that_does_not_answer_is_away_and_has_done_nothing() -> None:
    with pytest.raises(ServiceAway, match=r"Cannot connect to http://127\.0\.0\.1:1\.") as raised:
        _list(KubeflowSettings(host="http://127.0.0.1:1"))
    assert not raised.value.is_reply_lost


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Content_Type": "text/html"}),
        (302, {"Location": "http://127.0.0.1:1/dex/auth"}),
        (404, {"Content_Type": "text/html"}),
    ],
)
def test_a_page_for_signing_in_is_taken_for_no_answer(status: int, headers: dict[str, str]) -> None:
    with answering(status, b"<html>Sign in</html>", **headers) as host, pytest.raises(NotAllowed, match="sign in"):
        _list(KubeflowSettings(host=host))


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (200, b'{"runs": 3}', Refused, "not understood"),
        (400, b"\xff", Refused, "refuses to list runs: Bad Request"),
        (404, b'{"code": 5, "message": "Run x not found.\\nAt all."}', NoSuchResource, "Run x not found. At all"),
        (502, b"", ServiceAway, r"\(502: Bad Gateway\)"),
        (500, b"x" * 9999, ServiceAway, "Internal Server Error"),
        (403, b"", NotAllowed, "kubeflow-pipelines-edit"),
    ],
)
def test_every_answer_ends_in_words(status: int, body: bytes, kind: type[Exception], words: str) -> None:
    with answering(status, body, Content_Type="application/json") as host, pytest.raises(kind, match=words) as raised:
        _list(KubeflowSettings(host=host))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Sign in</html>", "text/html"),
        (b"{}", "application/json"),
        (b'{"run_id": ""}', "application/json"),
        (b'{"run_id": "x"', "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
    ],
)
def test_a_yes_to_a_new_run_that_does_not_name_it_is_a_lost_answer(body: bytes, kind: str) -> None:
    with (
        answering(200, body, Content_Type=kind) as host,
        pytest.raises(ServiceAway, match="name what it made") as raised,
    ):
        Api(KubeflowSettings(host=host)).call("run", "create_run", run={"display_name": "run"})
    assert raised.value.is_reply_lost


def test_a_page_for_signing_in_instead_of_an_answer_is_a_clear_no_where_it_is_elsewhere() -> None:
    elsewhere = {"Location": "http://127.0.0.1:1/dex/auth"}
    with answering(302, b"", **elsewhere) as host, pytest.raises(NotAllowed, match="sign in"):
        Api(KubeflowSettings(host=host)).call("run", "create_run", run={"display_name": "run"})


def test_one_call_is_sent_once_whatever_the_answer(
    fake: FakeKubeflow, open_target: Callable[..., Any], convert: Any
) -> None:
    target = open_target(fake)
    for fault in ("429", "503", "dropped"):
        fake.calls.clear()
        fake.faults = {0: fault}
        with pytest.raises(ServiceAway):
            target.find("run")
        assert len(fake.calls) == 1
