"""The account that the tests sign in as: a key of its own, and who bears what it signed.

https://developers.google.com/identity/protocols/oauth2/service-account
"""

import json
from pathlib import Path
from urllib.parse import parse_qsl

import google.auth.jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.cloud.bench.errors import ApiError
from tests.cloud.bench.rest_door import Answer, Exchange, as_json
from tests.cloud.bench.state import PROJECT

_TOKEN = "ya29.tunelane-test"  # noqa: S105 - it opens nothing
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EMAIL = f"tester@{PROJECT}.iam.gserviceaccount.com"


class Account:
    """A service account with a throwaway key."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public_key = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def write_key(self, path: Path, token_uri: str) -> None:
        """Write its key file: https://cloud.google.com/iam/docs/keys-create-delete#creating."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        content = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": token_uri,
        }
        path.write_text(json.dumps(content))

    def check(self, authorization: str) -> None:
        """Refuse a call that bears neither a token of ours nor a claim that the account signed itself.

        Generated clients sign claims: https://google.aip.dev/auth/4111
        """
        token = authorization.removeprefix("Bearer ")
        if token != _TOKEN and not self._has_signed(token):
            raise ApiError(
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
                "valid authentication credential. See "
                "https://developers.google.com/identity/sign-in/web/devconsole-project.",
                "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            )

    def token(self, exchange: Exchange) -> Answer:
        """Give a token for a signed claim."""
        form = dict(parse_qsl(exchange.body.decode()))
        if exchange.path != "/token" or form.get("grant_type") != _GRANT:
            return as_json({"error": "unsupported_grant_type"}, 400)
        if not self._has_signed(form.get("assertion", "")):
            return as_json({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        return as_json({"access_token": _TOKEN, "expires_in": 3600, "token_type": "Bearer"})

    def _has_signed(self, token: str) -> bool:
        try:
            claims = google.auth.jwt.decode(token, certs=self._public_key)
        except ValueError:
            return False
        return bool(claims.get("iss") == EMAIL)
