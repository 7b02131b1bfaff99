"""The feature store: what is known of an entity, by its id, for a prediction to use."""

from typing import TYPE_CHECKING, Any

import msgspec

from tunelane_serving.problems import InvalidRequest, NotFound

if TYPE_CHECKING:
    from tunelane_serving.database.database import Database

MAX_ENTITY_ID_CHARACTERS = 256
MAX_FEATURES_BYTES = 64 << 10
"""Of one entity's features, as JSON."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def get_features(database: "Database", entity_id: str) -> tuple[dict[str, Any], float]:
    """Give an entity's features, and when they changed last, in seconds since the epoch.

    Raises:
        NotFound: nothing is stored of it.
        InvalidRequest: the id is none that can be stored.
        DatabaseAway: the database does not answer.
    """
    from sqlalchemy import select

    from tunelane_serving.database.tables import features as table

    _check_id(entity_id)
    query = select(table.c.features, table.c.updated_at).where(table.c.entity_id == entity_id)
    with database.transaction() as connection:
        row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"Nothing is stored of {entity_id!r}; POST its features first")
    return _decode(row.features), row.updated_at


def set_features(
    database: "Database", entity_id: str, features: dict[str, Any], now_s: float
) -> tuple[dict[str, Any], float]:
    """Set an entity's features, and keep those that it has besides; None removes one.

    Writers at the same time do not undo one another: each merges with what the one before it wrote. Durable on return.

    Args:
        database: where they are kept.
        entity_id: whose features, at most 256 characters.
        features: JSON values by name.
        now_s: seconds since the epoch.

    Returns:
        All the features that the entity has now, and `now_s`.

    Raises:
        InvalidRequest: they are more than 64 kB of JSON, or the id is none that can be stored. Nothing changed.
        DatabaseAway: the database does not answer.
    """
    from sqlalchemy import select, update
    from sqlalchemy.dialects import postgresql, sqlite

    from tunelane_serving.database.tables import features as table

    _check_id(entity_id)
    with database.transaction() as connection:
        # A write comes first: on SQLite it takes the lock that every writer needs, and on PostgreSQL it waits for
        # another's first write of this entity. So what is read after it cannot change before the commit.
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        empty = insert(table).values(entity_id=entity_id, features="{}", updated_at=now_s)
        connection.execute(empty.on_conflict_do_nothing())
        of_entity = table.c.entity_id == entity_id
        stored = connection.execute(select(table.c.features).where(of_entity).with_for_update()).scalar_one()
        merged = {name: value for name, value in (_decode(stored) | features).items() if value is not None}
        content = msgspec.json.encode(merged)
        if len(content) > MAX_FEATURES_BYTES:
            raise InvalidRequest(
                f"features: {len(content)} bytes of JSON in all; at most {MAX_FEATURES_BYTES} for one entity"
            )
        connection.execute(update(table).where(of_entity).values(features=content.decode(), updated_at=now_s))
    return merged, now_s


def _check_id(entity_id: str) -> None:
    if not 0 < len(entity_id) <= MAX_ENTITY_ID_CHARACTERS or "\0" in entity_id:
        raise InvalidRequest(f"entity: 1 to {MAX_ENTITY_ID_CHARACTERS} characters, none of them NUL")
