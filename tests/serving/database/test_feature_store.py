from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunelane_serving.database.database import Database
from tunelane_serving.database.feature_store import MAX_FEATURES_BYTES, get_features, set_features
from tunelane_serving.problems import DatabaseAway, InvalidRequest, NotFound


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def test_what_is_set_is_there_and_stays_beside_what_comes_later(database: Database) -> None:
    assert set_features(database, "user 1", {"age": 7, "tags": ["a", {"b": None}]}, 1.0) == (
        {"age": 7, "tags": ["a", {"b": None}]},
        1.0,
    )
    merged = {"age": 8, "tags": ["a", {"b": None}], "name": "Grüße\0😀"}
    assert set_features(database, "user 1", {"age": 8, "name": "Grüße\0😀"}, 2.0) == (merged, 2.0)
    other = Database(database.url)
    assert get_features(other, "user 1") == (merged, 2.0)
    other.close()


def test_null_removes_a_feature(database: Database) -> None:
    set_features(database, "e", {"a": 1, "b": 2}, 1.0)
    assert set_features(database, "e", {"a": None, "never there": None}, 2.0) == ({"b": 2}, 2.0)
    assert get_features(database, "e") == ({"b": 2}, 2.0)


def test_entities_are_apart(database: Database) -> None:
    set_features(database, "e", {"a": 1}, 1.0)
    set_features(database, "E", {"a": 2}, 2.0)
    assert get_features(database, "e") == ({"a": 1}, 1.0)


def test_nothing_stored_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound, match="Nothing is stored of 'e'; POST its features first"):
        get_features(database, "e")


def test_too_much_is_refused_and_changes_nothing(database: Database) -> None:
    set_features(database, "e", {"a": "x" * (MAX_FEATURES_BYTES - 100)}, 1.0)
    with pytest.raises(InvalidRequest, match="bytes of JSON in all; at most 65536 for one entity"):
        set_features(database, "e", {"b": "x" * 200}, 2.0)
    features, updated_at = get_features(database, "e")
    assert (list(features), updated_at) == (["a"], 1.0)
    with pytest.raises(InvalidRequest):
        set_features(database, "other", {"a": "x" * MAX_FEATURES_BYTES}, 3.0)
    with pytest.raises(NotFound):
        get_features(database, "other")


def test_the_largest_features_fit(database: Database) -> None:
    overhead_bytes = len(b'{"a":""}')
    set_features(database, "e", {"a": "x" * (MAX_FEATURES_BYTES - overhead_bytes)}, 1.0)


@pytest.mark.parametrize("entity_id", ["", "x" * 257, "a\0b"])
def test_an_id_that_cannot_be_stored_is_refused(entity_id: str) -> None:
    database = Database("sqlite:///unused.db")
    with pytest.raises(InvalidRequest, match="entity: 1 to 256 characters, none of them NUL"):
        set_features(database, entity_id, {}, 1.0)
    with pytest.raises(InvalidRequest):
        get_features(database, entity_id)


def test_writers_at_once_do_not_undo_one_another(database: Database) -> None:
    """The first write of an entity included, and from connections of two instances."""
    other = Database(database.url)

    def write(number: int) -> None:
        for round_ in range(4):
            set_features((database, other)[number % 2], f"e{round_}", {f"by {number}": number}, float(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    for round_ in range(4):
        assert get_features(database, f"e{round_}")[0] == {f"by {number}": number for number in range(8)}
    other.close()


def test_a_database_that_is_away_is_said_to_be(tmp_path: Any) -> None:
    database = Database(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(DatabaseAway):
        set_features(database, "e", {"a": 1}, 1.0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # A lone surrogate is in no JSON.
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(updates=st.lists(st.dictionaries(st.sampled_from("abcd"), JSON, max_size=3), min_size=1, max_size=4))
def test_any_updates_merge_as_a_dict_would(database: Database, updates: list[dict[str, Any]]) -> None:
    set_features(database, "e", dict.fromkeys("abcd"), 0.0)
    expected: dict[str, Any] = {}
    for number, update in enumerate(updates):
        expected |= update
        expected = {name: value for name, value in expected.items() if value is not None}
        assert set_features(database, "e", update, float(number)) == (expected, float(number))
    assert get_features(database, "e") == (expected, float(len(updates) - 1))
