"""Service Usage, as far as it tells a project's quotas.

https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics/get
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from tests.cloud.bench.api import Api
from tests.cloud.bench.errors import ApiError
from tests.cloud.bench.faults import Call
from tests.cloud.bench.rest_door import Answer, Exchange, as_json
from tests.cloud.bench.state import PROJECT, PROJECT_NUMBER

HOST = "serviceusage.googleapis.com"

_METRIC = re.compile(r"/v1beta1/projects/([^/]+)/services/(?P<service>[^/]+)/consumerQuotaMetrics/(?P<metric>.+)")


class Quotas:
    """Limits by metric and region. A region that has none of its own has the default, 0."""

    def __init__(self, api: Api, check_bearer: Callable[[str], None]) -> None:
        self._api = api
        self._check_bearer = check_bearer
        self.reset()

    def reset(self) -> None:
        self.limits: dict[tuple[str, str], int] = {}

    def answer(self, exchange: Exchange) -> Answer:
        """Answer a client."""
        call = Call("GetConsumerQuotaMetric", {"path": exchange.path}, "rest", exchange.host)
        given: Answer = self._api.answered(call, "serviceusage", lambda: self._get(exchange))
        return given

    def _get(self, exchange: Exchange) -> Answer:
        self._check_bearer(exchange.headers.get("authorization", ""))
        match = _METRIC.fullmatch(exchange.path)
        if match is None or exchange.verb != "GET" or match[1] not in (PROJECT, str(PROJECT_NUMBER)):
            raise ApiError("NOT_FOUND", f"{exchange.verb} {exchange.path} is not found.")
        metric = unquote(match["metric"])
        if not metric.startswith(f"{match['service']}/"):
            raise ApiError("NOT_FOUND", f"Metric {metric} is not found.")
        # Integers of 64 bits are strings in JSON; the bucket without dimensions comes first, the most specific last.
        buckets: list[dict[str, Any]] = [{"effectiveLimit": "0", "defaultLimit": "0"}]
        buckets += [
            {"effectiveLimit": str(limit), "defaultLimit": "0", "dimensions": {"region": region}}
            for (name, region), limit in self.limits.items()
            if name == metric
        ]
        limit = {"metric": metric, "unit": "1/{project}/{region}", "quotaBuckets": buckets}
        return as_json(
            {"name": exchange.path.removeprefix("/v1beta1/"), "metric": metric, "consumerQuotaLimits": [limit]}
        )
