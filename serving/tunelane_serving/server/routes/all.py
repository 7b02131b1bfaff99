"""Every operation of the server, those that are called most first: a router tries one after the other."""

from tunelane_serving.server.operation import Operation
from tunelane_serving.server.routes import (
    features,
    health,
    models,
    monitoring,
    open_inference,
    pages,
    personalization,
    predictions,
    vertex,
)

OPERATIONS: tuple[Operation, ...] = (
    *predictions.OPERATIONS,
    *monitoring.OPERATIONS,
    *health.OPERATIONS,
    *personalization.OPERATIONS,
    *features.OPERATIONS,
    *models.OPERATIONS,
    *vertex.OPERATIONS,
    *open_inference.OPERATIONS,
    *pages.OPERATIONS,
)
