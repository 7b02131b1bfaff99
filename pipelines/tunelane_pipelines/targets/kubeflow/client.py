"""The connection to an installation: `kfp.Client`, set up so that it waits for nobody and writes nothing."""

import os
import re
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelane_pipelines.settings.sections import KubeflowSettings
from tunelane_pipelines.targets.errors import NotAllowed
from tunelane_serving.errors import InputError

if TYPE_CHECKING:
    from kfp import Client

_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 60.0

# With no namespace kfp.Client asks the service whether it has users, five times with pauses, and then writes what it
# finds to ~/.config/kfp/context.json. With a name it does neither; every call below names its own namespace.
_NO_QUESTIONS = "named-in-each-call"

# What makes another each time, as the service takes no id of ours, and the field that has its own: where the answer was
# lost, the call must not simply be sent again. Every other may be.
_CREATES = {"create_run": "run_id", "create_recurring_run": "recurring_run_id"}

# With this variable and no token given as text kfp.Client opens a browser to sign in.
_SIGN_IN = "KF_PIPELINES_IAP_OAUTH2_CLIENT_ID"


class NoSuchRoute(Exception):
    """An installation has no such route."""


class _TokenFile:
    """A file with a token, read anew for every call: a cluster renews its tokens while a run is watched."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refresh_api_key_hook(self, configuration: Any) -> None:
        """Put the token into a generated client's configuration, which asks for it so."""
        written = self._path.read_bytes().decode(errors="replace")
        configuration.api_key["authorization"] = _token(written, str(self._path))


class Api:
    """Kubeflow Pipelines' REST API v2beta1, by the services that kfp.Client generates its own verbs from.

    kfp.Client's verbs would not do: they know no time limit, print links, and take a pipeline from a file alone.
    https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/
    """

    def __init__(self, settings: KubeflowSettings, read_timeout_s: float = _READ_TIMEOUT_S) -> None:
        """Check the settings; nothing is imported or connected yet.

        Raises:
            InputError: the host is missing, no URL or has a password in it, or a file cannot be read.
        """
        if not settings.host:
            raise InputError("No Kubeflow host. Set kubeflow.host, as in https://kubeflow.example.org/pipeline.")
        if re.match(r"(\w+://)?[^/]*@", settings.host):
            # No client would send it, and links and messages would show it.
            raise InputError("kubeflow.host has a name or a password in it. Leave that out, and set kubeflow.token.")
        if not re.match(r"https?://[^/]", settings.host):
            raise InputError(f"kubeflow.host is {settings.host}: start it with https:// (or http://).")
        for path in (settings.token_file, settings.ca_file):
            if path and not os.access(path, os.R_OK):
                raise InputError(f"Cannot read {path}. Check kubeflow.token_file and kubeflow.ca_file.")
        self.host = settings.host.rstrip("/")
        self._settings = settings
        self._timeouts_s = (_CONNECT_TIMEOUT_S, read_timeout_s)
        # Those that have not been found to be missing.
        self._log_versions = ["v2beta1", "v1alpha1"]

    def call(self, service: str, verb: str, **arguments: Any) -> Any:
        """Call `<service>_service_<verb>` of the generated client; arguments that are None are left out.

        Raises:
            ServiceAway: there is no answer, or one that says to try again. `is_reply_lost` where a run or a recurring
                run may have been made all the same, an answer that cannot be read or has no id included.
            InputError: one of `targets.errors`: the answer is no.
        """
        client = self._client
        from tunelane_pipelines.targets.kubeflow.errors import RAISED, in_words, unclear, web_page

        given = {name: value for name, value in arguments.items() if value is not None}
        api = getattr(client, f"{service}s")
        send = getattr(api, f"{service}_service_{verb}")
        doing = verb.replace("_", " ")
        try:
            answer = send(_request_timeout=self._timeouts_s, **given)
        except RAISED as error:
            raise in_words(error, self.host, self._settings.namespace, doing, creates=verb in _CREATES) from error
        is_json = "json" in (api.api_client.last_response.getheader("content-type") or "")
        if verb in _CREATES and not (is_json and getattr(answer, _CREATES[verb])):
            raise unclear(self.host, doing)
        if not is_json:
            raise web_page(self.host)
        return answer

    def log(self, run_id: str, pod: str) -> str | None:
        """Give what a pod of a run wrote; None where the pod and its archived log are gone.

        The server has a route for it beside its services, so that the generated client does not know it; it takes the
        name of the pod, and answers with text. Releases up to 2.17 have it under v1alpha1, later ones under v2beta1:
        https://github.com/kubeflow/pipelines/blob/master/backend/src/apiserver/main.go,
        https://github.com/kubeflow/pipelines/blob/master/backend/src/apiserver/server/run_log_server.go and
        https://github.com/kubeflow/pipelines/blob/master/frontend/server/app.ts

        Raises:
            NoSuchRoute: this installation does not have it, or a proxy before it lets nothing through.
            ServiceAway: there is no answer, or one that says to try again.
            InputError: one of `targets.errors`: the answer is no.
        """
        for version in tuple(self._log_versions):
            try:
                return self._log(version, run_id, pod)
            except NoSuchRoute:
                self._log_versions.remove(version)
        raise NoSuchRoute

    def _log(self, version: str, run_id: str, pod: str) -> str | None:
        api_client = self._client.runs.api_client
        from tunelane_pipelines.targets.kubeflow.errors import RAISED, in_words, is_gone_log, is_gone_text, is_no_route

        try:
            answer = api_client.call_api(
                f"/apis/{version}/runs/{{run_id}}/nodes/{{node_id}}/log",
                "GET",
                {"run_id": run_id, "node_id": pod},
                header_params={"Accept": "text/plain"},
                auth_settings=["Bearer"],
                _preload_content=False,
                _request_timeout=self._timeouts_s,
            )
            content: bytes = answer.data
        except RAISED as error:
            if is_gone_log(error):
                return None
            if is_no_route(error):
                raise NoSuchRoute from error
            raise in_words(error, self.host, self._settings.namespace, "read the log") from error
        # A page for people: the user interface stands before the server, and lets only its own calls through.
        if "html" in answer.headers.get("content-type", ""):
            raise NoSuchRoute
        text = content.decode(errors="replace")
        return None if is_gone_text(text) else text

    @cached_property
    def _client(self) -> "Client":
        settings = self._settings
        token = _token(settings.token.get_secret_value(), "kubeflow.token")
        if not token:
            self._refuse_to_sign_in()
        from kfp import Client

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            try:
                client = Client(
                    host=self.host,
                    namespace=_NO_QUESTIONS,
                    existing_token=token or None,
                    credentials=_TokenFile(settings.token_file) if settings.token_file else None,
                    ssl_ca_cert=str(settings.ca_file) if settings.ca_file else None,
                )
            except ValueError as error:
                raise InputError(
                    f"{Client._LOCAL_KFP_CONTEXT} is broken: {error}. Mend it, or move it away."
                ) from error
        # Without this urllib3 repeats calls by itself, and follows a gateway to its page for signing in.
        client.runs.api_client.rest_client.pool_manager.connection_pool_kw["retries"] = False
        return client

    def _refuse_to_sign_in(self) -> None:
        """Refuse where kfp.Client would sooner get a token from a browser or from Google than read a file."""
        if os.environ.get(_SIGN_IN):
            raise NotAllowed(f"{_SIGN_IN} is set and there is no kubeflow.token. Set it, or unset the variable.")
        if re.search(r"\.googleusercontent\.com$", self.host):
            raise NotAllowed(f"{self.host} needs a token: set kubeflow.token (gcloud auth print-access-token).")


def _token(written: str, where: str) -> str:
    """Give a token without the white space around it.

    Raises:
        InputError: it cannot be sent. The error of whoever tried would show it.
    """
    token = written.strip()
    if not re.fullmatch(r"[ -~]*", token):
        raise InputError(f"{where} is no token: one line of plain characters. Renew it.")
    return token
