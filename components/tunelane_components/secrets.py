"""Secrets by name: a parameter names a version in Secret Manager, and the task reads it, so that no log ever has it.

kfp prints a task's parameters, and consoles show them; the name of a secret is none.
https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

import base64
import re
from typing import Any

from tunelane_components.patience import STAGE_PATIENCE_S
from tunelane_serving.errors import InputError, TunelaneError

_SERVICE = "https://secretmanager.googleapis.com/v1"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_ATTEMPTS = 4
_VERSION = re.compile(r"projects/[^/\s]+/secrets/[\w-]{1,255}/versions/(\d+|latest|[a-zA-Z][\w-]{0,62})")
_AGAIN = (429, 500, 502, 503, 504)
_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _FAILED_PRECONDITION = 401, 403, 404, 400


def is_secret_version(value: str) -> bool:
    """Whether a value names a version of a secret: projects/P/secrets/S/versions/V."""
    return _VERSION.fullmatch(value) is not None


def revealed(value: str, *, patience_s: float = STAGE_PATIENCE_S) -> str:
    """Give `value` as it is, or the secret that it names, without white space around it.

    Raises:
        InputError: there is no such secret or version, this account may not read it, or it is no text.
        TunelaneError: Secret Manager does not answer.
    """
    return read_secret(value, patience_s=patience_s) if is_secret_version(value) else value


def read_secret(name: str, *, patience_s: float = STAGE_PATIENCE_S) -> str:
    """Read a version of a secret as text, without white space around it.

    Args:
        name: projects/P/secrets/S/versions/V.
        patience_s: about how long a service that does not answer is waited for.

    Raises:
        InputError: there is no such secret or version, this account may not read it, or it is no text.
        TunelaneError: Secret Manager does not answer.
    """
    response = _asked(name, patience_s / _ATTEMPTS)
    if response.status_code == _FORBIDDEN:
        raise InputError(
            f"The secret {name} may not be read: {_words(response)}. Grant the task's service account "
            "roles/secretmanager.secretAccessor on it."
        )
    if response.status_code == _UNAUTHORISED:
        raise InputError(
            f"The secret {name} cannot be read: Google refuses the credentials ({_words(response)}). Renew them."
        )
    if response.status_code in (_NOT_FOUND, _FAILED_PRECONDITION):
        raise InputError(f"The secret {name} cannot be read: {_words(response)}. Name a version that is enabled.")
    if not response.ok:
        raise TunelaneError(
            f"Secret Manager does not give {name} ({response.status_code}: {_words(response)}). Try again."
        )
    try:
        return base64.b64decode(response.json()["payload"]["data"], validate=True).decode().strip()
    except (KeyError, TypeError, ValueError):
        # The error itself has the content in it.
        raise InputError(f"The secret {name} is no text. Store it as UTF-8.") from None


def _asked(name: str, timeout_s: float) -> Any:
    """Ask, a few times with growing pauses where the service is away."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession
    from requests import RequestException  # type: ignore[import-untyped]
    from requests.adapters import HTTPAdapter  # type: ignore[import-untyped]
    from urllib3.util import Retry

    try:
        again = Retry(total=_ATTEMPTS - 1, backoff_factor=0.5, status_forcelist=_AGAIN, raise_on_status=False)
        with AuthorizedSession(google.auth.default(scopes=[_SCOPE])[0]) as session:
            session.mount("https://", HTTPAdapter(max_retries=again))
            return session.get(f"{_SERVICE}/{name}:access", timeout=timeout_s)
    except DefaultCredentialsError as error:
        raise _no_credentials(name, str(error.args[0])) from error
    except (GoogleAuthError, RequestException) as error:
        raise TunelaneError(
            f"Secret Manager does not answer for {name} ({type(error).__name__}). Try again."
        ) from error
    except OSError as error:
        raise _no_credentials(name, f"{error.filename}: {error.strerror}") from error


def _no_credentials(name: str, why: str) -> InputError:
    return InputError(
        f"The secret {name} cannot be read: no usable Google Cloud credentials ({why.rstrip('.')}). Sign in, or give "
        "the task an account."
    )


def _words(response: Any) -> str:
    """What the service says, in one line without a full stop."""
    try:
        said = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = response.reason or "no reason given"
    return " ".join(str(said).split()).rstrip(".")
