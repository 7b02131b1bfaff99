"""Access tokens for Google's APIs: from the metadata server, or by a service account's key file."""

import base64
import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tunelane_serving.errors import InputError, TunelaneError
from tunelane_serving.fetching.http import Http, HttpAnswer, HttpFailure

KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
# A token that ends during a request would be of no use.
_MARGIN_S = 60.0
_ASSERTION_S = 3600


class TokenSource:
    """Gives a token for Cloud Storage, and a new one when that ends. Safe to use from several threads.

    Protocols: https://cloud.google.com/compute/docs/access/authenticate-workloads (metadata server) and
    https://developers.google.com/identity/protocols/oauth2/service-account (key file).
    """

    def __init__(self, http: Http) -> None:
        self._http = http
        # The metadata server is beside the machine: no proxy, and no answer within seconds means that there is none.
        self._metadata_http = Http(proxies=False, attempts=3, timeout_s=3.0)
        self._lock = threading.Lock()
        self._token, self._ends_s = "", 0.0

    def token(self) -> str:
        """Give a token that is good for a minute at least.

        Raises:
            InputError: there are no credentials on this machine, or they cannot be used.
            TunelaneError: the token server does not answer as it should.
        """
        with self._lock:
            if time.monotonic() >= self._ends_s:
                key_file = os.environ.get(KEY_FILE, "")
                answer = self._by_key(Path(key_file)) if key_file else self._from_metadata_server()
                content = answer.json()
                try:
                    self._token = str(content["access_token"])
                    self._ends_s = time.monotonic() + float(content["expires_in"]) - _MARGIN_S
                except (KeyError, TypeError, ValueError) as error:
                    raise TunelaneError("the token server gave no access token; try again") from error
            return self._token

    def forget(self) -> None:
        """Get a new token next time: this one was refused."""
        with self._lock:
            self._ends_s = 0.0

    def _from_metadata_server(self) -> HttpAnswer:
        host = os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
        try:
            return self._metadata_http.send(
                "GET", f"http://{host}{_METADATA_PATH}", headers={"Metadata-Flavor": "Google"}
            )
        except HttpFailure as error:
            raise InputError(
                f"No credentials for gs://: no metadata server answers ({error}). Run on Google Cloud with a service "
                f"account, or set {KEY_FILE} to a service account's key file."
            ) from error

    def _by_key(self, path: Path) -> HttpAnswer:
        """Exchange a signed assertion for a token."""
        key = _read_key(path)
        body = urlencode({"grant_type": _GRANT, "assertion": _assertion(key, path)}).encode()
        try:
            return self._http.send(
                "POST", key["token_uri"], headers={"Content-Type": "application/x-www-form-urlencoded"}, body=body
            )
        except HttpFailure as error:
            raise InputError(f"The service account's key in {path} gave no token: {error}") from error


def _read_key(path: Path) -> dict[str, Any]:
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{KEY_FILE}: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{KEY_FILE}: {path} is not JSON; it must be a service account's key file") from error
    fields = ("client_email", "private_key", "token_uri")
    if not isinstance(key, dict) or key.get("type") != "service_account" or not all(key.get(name) for name in fields):
        raise InputError(f"{KEY_FILE}: {path} is not a service account's key file (type, {', '.join(fields)})")
    if not str(key["token_uri"]).startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise InputError(f"{KEY_FILE}: {path} has the token_uri {key['token_uri']}, which is not https")
    return key


def _assertion(key: dict[str, Any], path: Path) -> str:
    """Make the JWT that says who asks, signed by RS256: RFC 7515 and RFC 7523."""
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise InputError(
            f"A service account's key ({KEY_FILE}) needs pip install cryptography; on Google Cloud attach the service "
            "account to the machine instead."
        ) from error
    try:
        private_key = load_pem_private_key(str(key["private_key"]).encode(), password=None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{KEY_FILE}: the private_key in {path} cannot be read") from error
    if not isinstance(private_key, RSAPrivateKey):
        raise InputError(f"{KEY_FILE}: the private_key in {path} is not an RSA key")
    now_s = int(time.time())
    header = {"alg": "RS256", "typ": "JWT", "kid": key.get("private_key_id", "")}
    claims = {
        "iss": key["client_email"],
        "scope": _SCOPE,
        "aud": key["token_uri"],
        "iat": now_s,
        "exp": now_s + _ASSERTION_S,
    }
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    return b".".join((signed, _base64url(private_key.sign(signed, PKCS1v15(), hashes.SHA256())))).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
