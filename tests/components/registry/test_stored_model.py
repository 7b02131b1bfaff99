"""The document of a model in a bucket: what was written as version 1 loads for ever."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tunelane_components.registry.bucket import StoredModel, StoredVersion
from tunelane_serving.contract import decode, formatted, read
from tunelane_serving.errors import ContractError

_GOLDEN = Path(__file__).parent / "golden" / "model_v1.json"


def test_the_golden_document_keeps_its_meaning() -> None:
    model = read(_GOLDEN, StoredModel)
    first, second = model.versions
    assert (model.name, model.champion, model.succession) == ("sentiment", "2", ("1", "2"))
    assert (first.number, first.digest[:12], first.tags["tunelane.verdict"]) == ("1", "496373fcdda6", "promote")
    assert first.registered_at == datetime(2026, 11, 21, 10, 44, 55, 123456, UTC)
    assert (second.number, second.taxonomy_digest, second.tags) == ("2", "", {})
    assert formatted(model) == _GOLDEN.read_bytes()


def test_the_golden_document_holds_every_field() -> None:
    content = json.loads(_GOLDEN.read_text())
    assert set(content) == set(StoredModel.__struct_fields__)
    assert set(content["versions"][0]) == set(StoredVersion.__struct_fields__)


def test_a_field_of_a_later_release_is_refused_rather_than_lost_with_the_next_write() -> None:
    content = {**json.loads(_GOLDEN.read_text()), "owner": "ann"}
    with pytest.raises(ContractError, match="unknown field `owner`"):
        decode(json.dumps(content).encode(), StoredModel, "sentiment.json")
    with pytest.raises(ContractError, match="written as version 2, this release reads up to 1; upgrade tunelane"):
        decode(json.dumps(content | {"version": 2}).encode(), StoredModel, "sentiment.json")
