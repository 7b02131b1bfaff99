"""Canonical records as they are, for trainers of classifiers."""

from tunelane_components.etl.record import Record
from tunelane_components.etl.renderers.examples import ExampleMaker
from tunelane_serving.contract import encode


def render_classification(record: Record, examples: ExampleMaker) -> bytes:  # noqa: ARG001  one signature for all
    """Write the canonical line: {"id", "text", "labels"}, and image_uri and meta where there are any."""
    return encode(record)
