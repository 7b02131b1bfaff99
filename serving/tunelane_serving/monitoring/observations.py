"""What drift is measured on: the newest events of a package."""

from typing import TYPE_CHECKING

import numpy as np

from tunelane_serving.monitoring.drift import Observations
from tunelane_serving.monitoring.selecting import chosen, decode_labels

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database


def observations(
    database: "Database", digest: str, *, since_s: float, until_s: float, limit: int = 10_000
) -> Observations:
    """Give what drift is measured on: the newest `limit` answered events of a package in a time range.

    Raises:
        DatabaseAway: the database does not answer.
    """
    from sqlalchemy import case, select

    from tunelane_serving.database.tables import events as table

    # The prediction of a ranking, which has no confidence, is ids, and many.
    labels = case((table.c.confidence.is_not(None), table.c.prediction), else_="[]")
    columns = (labels, table.c.confidence, table.c.length_tokens, table.c.oov_share)
    query = chosen(select(*columns), since_s=since_s, until_s=until_s)
    query = query.where(table.c.digest == digest, table.c.status == "ok").order_by(table.c.time.desc()).limit(limit)
    with database.transaction() as connection:
        rows = connection.execute(query).all()
    # float64 makes a NaN of None.
    numbers = np.array([row[1:] for row in rows], np.float64).reshape(len(rows), 3)
    given = [label for row in rows for label in decode_labels(row[0])]
    return Observations(given, numbers[:, 0], numbers[:, 1], numbers[:, 2])
