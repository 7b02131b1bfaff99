"""The tables, on SQLite and PostgreSQL alike. Times are seconds since the epoch (UTC), JSON is text.

Imports SQLAlchemy, which costs a cold start more than the server itself: only what talks to the database imports this,
and only once it does.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
    text,
)

from tunelane_serving.errors import InputError

SCHEMA_VERSION = 1

metadata = MetaData()

# One row: which release's tables these are.
schema_version = Table("schema_version", metadata, Column("number", Integer, primary_key=True))

model_versions = Table(
    "model_versions",
    metadata,
    Column("model_id", String(128), primary_key=True),
    Column("version", String(64), primary_key=True),
    Column("number", Integer, nullable=False),  # order of upload, from 1, by model
    Column("digest", String(64), nullable=False),
    Column("framework", String(16), nullable=False),
    Column("task", String(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("uploaded_at", Double, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("outputs", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Index("model_versions_by_number", "model_id", "number", unique=True),
    Index(
        "one_version_in_production",
        "model_id",
        unique=True,
        sqlite_where=text("stage = 'production'"),
        postgresql_where=text("stage = 'production'"),
    ),
)

events = Table(
    "inference_events",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("time", Double, nullable=False),
    Column("model", String(128), nullable=False),
    Column("model_version", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("framework", String(16), nullable=False),
    Column("status", String(8), nullable=False),
    Column("latency_ms", Double, nullable=False),
    Column("input", Text, nullable=False),
    Column("input_hashed", Boolean, nullable=False),
    Column("label", Text, nullable=False),  # the first of prediction, or empty
    Column("prediction", Text, nullable=False),
    Column("scores", Text, nullable=False),
    Column("confidence", Double),
    Column("length_tokens", Integer),
    Column("oov_share", Double),
    Column("error", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    # Pages of events are cut by time and id. A version is looked for among its model's events: a column between model
    # and time would cost the pages of one model their order.
    Index("inference_events_by_time", "time", "id"),
    Index("inference_events_by_model", "model", "time"),
)

# Apart from the events: feedback may come first, or at another instance. The newest of an inference counts.
feedback = Table(
    "feedback",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("inference_id", String(128), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("correct", Boolean),
    Column("time", Double, nullable=False),
    Index("feedback_by_inference", "inference_id"),
)

features = Table(
    "entity_features",
    metadata,
    Column("entity_id", String(256), primary_key=True),
    Column("features", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
)


def make_tables(connection: Connection) -> None:
    """Make the tables that are missing; one caller at a time.

    Raises:
        InputError: the tables are a newer release's.
    """
    metadata.create_all(connection)
    found = connection.execute(select(func.max(schema_version.c.number))).scalar()
    if found is None:
        connection.execute(insert(schema_version).values(number=SCHEMA_VERSION))
    elif found > SCHEMA_VERSION:
        raise InputError(
            f"The database has version {found} of the tables, this release knows {SCHEMA_VERSION}. Upgrade tunelane."
        )
