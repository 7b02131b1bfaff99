"""What the fakes remember: resources by name, long-running operations, and the rules that hold for all of them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf import any_pb2, field_mask_pb2, timestamp_pb2

from tests.cloud.bench.clock import FakeClock
from tests.cloud.bench.errors import ApiError, invalid, not_found
from tests.cloud.bench.filters import Values, parsed, values_of

PROJECT = "tunelane-test"
PROJECT_NUMBER = "123456789012"
REGION = "europe-west4"

_DEFAULT_PAGE = 100


@dataclass
class _Running:
    """An operation: how often it is still to be seen undone, and what it ends in."""

    polls: int
    done: operations_pb2.Operation


class State:
    """The resources of one project. Names hold the project's number, as Vertex AI's answers do."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.resources: dict[str, Any] = {}
        self.launched: dict[str, str] = {}
        """Custom jobs that launchers made, by the custom jobs that those run as."""
        self._operations: dict[str, _Running] = {}
        self.operation_polls = 1
        """How often an operation is seen undone."""
        self.reset()

    def reset(self) -> None:
        self.resources.clear()
        self.launched.clear()
        self._operations.clear()
        self.operation_polls = 1
        self._last_id = 7_000_000_000_000_000_000
        self._last_stamp = datetime.min.replace(tzinfo=UTC)

    def new_id(self) -> str:
        self._last_id += 1
        return str(self._last_id)

    def stamp(self) -> timestamp_pb2.Timestamp:
        """Give the time; each one later than the one before, as on a service where no two calls take no time."""
        self._last_stamp = max(self.clock.now(), self._last_stamp + timedelta(milliseconds=1))
        return timestamp(self._last_stamp)

    def get(self, name: str) -> Any:
        """Give a resource. Raises NOT_FOUND."""
        if name not in self.resources:
            raise not_found(name)
        return self.resources[name]

    def add(self, name: str, resource: Any) -> Any:
        """Keep a new resource. Raises ALREADY_EXISTS: https://google.aip.dev/133#user-specified-ids."""
        if name in self.resources:
            raise ApiError("ALREADY_EXISTS", f"Resource {name} already exists.")
        resource.name = name
        for field in ("create_time", "update_time"):
            if field in resource.DESCRIPTOR.fields_by_name:
                getattr(resource, field).CopyFrom(self.stamp())
        self.resources[name] = resource
        return resource

    def remove(self, name: str) -> None:
        self.get(name)
        del self.resources[name]

    def children(self, parent: str, collection: str) -> Iterator[Any]:
        """Give the resources directly below a parent, the newest first."""
        prefix = f"{parent}/{collection}/"
        for name in reversed(list(self.resources)):
            if name.startswith(prefix) and "/" not in name.removeprefix(prefix):
                yield self.resources[name]

    def begin(self, parent: str, response: Any, metadata: Any = None) -> Any:
        """Start a long-running operation whose effect is there at once: https://google.aip.dev/151."""
        name = f"{parent}/operations/{self.new_id()}"
        done = operations_pb2.Operation(name=name, done=True)
        done.response.Pack(response)
        if metadata is not None:
            done.metadata.Pack(metadata)
        self._operations[name] = _Running(self.operation_polls, done)
        return self._undone(done)

    def operation(self, name: str) -> Any:
        """Give an operation as it stands, one poll further."""
        # REST clients of Vertex AI ask for it below `ui/`.
        name = name[name.find("projects/") :]
        if name not in self._operations:
            raise not_found(name)
        running = self._operations[name]
        if running.polls > 0:
            running.polls -= 1
            return self._undone(running.done)
        return running.done

    def break_operation(self, name: str) -> None:
        """Have it end in an error, whatever it did."""
        done = self._operations[name].done
        done.error.CopyFrom(ApiError("INTERNAL", "Internal error encountered.").status())

    def delay_operation(self, name: str, polls: int) -> None:
        self._operations[name].polls += polls

    def _undone(self, done: Any) -> Any:
        undone = operations_pb2.Operation(name=done.name)
        if done.HasField("metadata"):
            undone.metadata.CopyFrom(done.metadata)
        return undone


def listed(
    request: Any,
    response: Any,
    resources: Iterator[Any],
    filterable: frozenset[str],
    order: frozenset[str],
    values: Values = values_of,
) -> Any:
    """Answer a List method: filter, order, pages. https://google.aip.dev/132, https://google.aip.dev/160.

    `filterable` and `order` are the fields that the method's documentation names; others are INVALID_ARGUMENT.
    `values` reads such a field.
    """
    repeated = next(field for field in response.DESCRIPTOR.fields if field.is_repeated and field.message_type)
    test = parsed(request.filter, filterable, values)
    found = [resource for resource in resources if test(resource)]
    # A list is of the newest first, unless said otherwise.
    found.sort(key=lambda resource: resource.create_time.ToDatetime(), reverse=True)
    for term in reversed([term.split() for term in getattr(request, "order_by", "").split(",") if term.strip()]):
        if term[0] not in order or term[1:] not in ([], ["desc"]):
            raise invalid(f"Invalid order_by: {' '.join(term)}")
        name = term[0]
        found.sort(key=lambda resource: getattr(resource, name).ToDatetime(), reverse=len(term) == 2)
    start = _page_start(request.page_token)
    size = request.page_size or _DEFAULT_PAGE
    if size < 0:
        raise invalid("page_size must not be negative.")
    getattr(response, repeated.name).extend(found[start : start + size])
    if start + size < len(found):
        response.next_page_token = f"page-{start + size}"
    return response


def merged(kept: Any, given: Any, mask: field_mask_pb2.FieldMask) -> None:
    """Write the fields of a mask into a resource: https://google.aip.dev/134#field-masks. Raises INVALID_ARGUMENT."""
    for path in mask.paths:
        if path.split(".")[0] not in kept.DESCRIPTOR.fields_by_name:
            raise invalid(f"Invalid update_mask: {path}")
    mask.MergeMessage(given, kept, True, True)


def check_etag(given: str, kept: str) -> None:
    """Refuse a change to what was changed meanwhile: https://google.aip.dev/154."""
    if given and given != kept:
        raise ApiError("ABORTED", "The etag does not match: it was changed meanwhile. Read it again.")


def timestamp(time: datetime) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(time.astimezone(UTC).replace(tzinfo=None))
    return stamp


def moment(stamp: timestamp_pb2.Timestamp) -> datetime:
    time: datetime = stamp.ToDatetime(tzinfo=UTC)
    return time


def numbered(name: str) -> str:
    """Give a resource's name with the project's number, whichever of its two names was used.

    https://cloud.google.com/resource-manager/docs/creating-managing-projects#identifying_projects
    """
    return re.sub(rf"^projects/{PROJECT}(?=/|$)", f"projects/{PROJECT_NUMBER}", name)


def unpacked(message: any_pb2.Any, kind: Any) -> Any:
    target = kind()
    message.Unpack(target)
    return target


def _page_start(token: str) -> int:
    if not token:
        return 0
    if not re.fullmatch(r"page-\d+", token):
        raise invalid("Invalid page_token.")
    return int(token.removeprefix("page-"))
