import base64
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tunelane_serving.errors import InputError
from tunelane_serving.fetching import gs
from tunelane_serving.fetching.gs import CloudStorage

if TYPE_CHECKING:
    from tests.serving.fetching.conftest import FakeStorage


class Issuer:
    """A metadata server and a token endpoint: gives `token`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.token, self.lasts_s, self.host = "first", 3600, ""
        self.asked: list[tuple[str, dict[str, str], bytes]] = []


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Start an issuer of tokens."""
    given = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer("/computeMetadata/v1/instance/service-accounts/default/token")

        def do_POST(self) -> None:
            self.answer("/token")

        def answer(self, path: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given.asked.append((self.path, dict(self.headers), body))
            right = self.path == path and (path == "/token" or self.headers.get("Metadata-Flavor") == "Google")
            content = json.dumps({"access_token": given.token, "expires_in": given.lasts_s, "token_type": "Bearer"})
            self.send_response(200 if right else 403)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        given.host = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield given
        server.shutdown()
        thread.join()


@pytest.fixture
def guarded(storage: "FakeStorage", issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> "FakeStorage":
    """Let the fake stand for Cloud Storage itself, which asks for the issuer's token."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setattr(gs, "_ENDPOINT", storage.url)
    monkeypatch.setenv("GCE_METADATA_HOST", issuer.host)
    storage.objects = {"bucket/a": b"a"}
    storage.token = issuer.token
    return storage


@pytest.fixture
def write_key(tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., rsa.RSAPrivateKey]:
    """Give a writer of a key file, named in the environment; fields may be changed."""

    def write(**changed: str) -> rsa.RSAPrivateKey:
        private_key = rsa.generate_private_key(65537, 2048)
        pem = private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "client_email": "server@project.example",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "token_uri": f"http://{issuer.host}/token",
        }
        (tmp_path / "key.json").write_text(json.dumps(content | changed))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        return private_key

    return write


def test_the_metadata_server_gives_one_token_for_many_requests(guarded: "FakeStorage", issuer: Issuer) -> None:
    bucket = CloudStorage("gs://bucket")
    assert bucket.exists("a")
    assert not bucket.exists("b")
    assert len(issuer.asked) == 1


def test_a_token_about_to_end_is_renewed(guarded: "FakeStorage", issuer: Issuer) -> None:
    issuer.lasts_s = 59
    bucket = CloudStorage("gs://bucket")
    assert bucket.exists("a")
    assert bucket.exists("a")
    assert len(issuer.asked) == 2


def test_a_token_that_is_refused_is_renewed_once(guarded: "FakeStorage", issuer: Issuer, tmp_path: Path) -> None:
    bucket = CloudStorage("gs://bucket")
    assert bucket.exists("a")
    guarded.token = issuer.token = "second"  # noqa: S105
    bucket.download("a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"a"
    guarded.token = "of nobody"  # noqa: S105
    with pytest.raises(InputError, match=r"No right to gs://bucket/a, .*Invalid Credentials"):
        bucket.exists("a")
    assert len(issuer.asked) == 3


def test_a_machine_without_credentials_is_told_what_to_do(
    guarded: "FakeStorage", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    monkeypatch.setattr("tunelane_serving.fetching.http._FIRST_PAUSE_S", 0.0)
    with pytest.raises(InputError, match=r"^No credentials for gs://: .*GOOGLE_APPLICATION_CREDENTIALS") as caught:
        CloudStorage("gs://bucket").exists("a")
    assert "\n" not in str(caught.value)


def test_a_key_file_gives_a_token_for_an_assertion_signed_with_it(
    guarded: "FakeStorage", issuer: Issuer, write_key: Callable[..., rsa.RSAPrivateKey]
) -> None:
    private_key = write_key()
    assert CloudStorage("gs://bucket").exists("a")
    ((path, _, body),) = issuer.asked
    asked = parse_qs(body.decode())
    assert (path, asked["grant_type"]) == ("/token", ["urn:ietf:params:oauth:grant-type:jwt-bearer"])
    signed, _, signature = asked["assertion"][0].rpartition(".")
    private_key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    header, claims = (json.loads(_decoded(part)) for part in signed.split("."))
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert (claims["iss"], claims["aud"]) == ("server@project.example", f"http://{issuer.host}/token")
    assert claims["scope"] == "https://www.googleapis.com/auth/devstorage.read_write"
    assert claims["exp"] - claims["iat"] == 3600


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"type": "authorized_user"}, "not a service account's key file"),
        ({"client_email": ""}, "not a service account's key file"),
        ({"private_key": "no key"}, "the private_key in .* cannot be read"),
        ({"token_uri": "http://elsewhere.example/token"}, "which is not https"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused(
    changed: dict[str, str], words: str, guarded: "FakeStorage", write_key: Callable[..., rsa.RSAPrivateKey]
) -> None:
    write_key(**changed)
    with pytest.raises(InputError, match=words):
        CloudStorage("gs://bucket").exists("a")


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_key_file_that_is_none_is_refused(
    content: str | None, guarded: "FakeStorage", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "key.json").write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(InputError, match=r"^GOOGLE_APPLICATION_CREDENTIALS: .*key\.json"):
        CloudStorage("gs://bucket").exists("a")


def test_a_key_without_cryptography_says_what_to_install(
    guarded: "FakeStorage", write_key: Callable[..., rsa.RSAPrivateKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key()
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(InputError, match="needs pip install cryptography"):
        CloudStorage("gs://bucket").exists("a")
