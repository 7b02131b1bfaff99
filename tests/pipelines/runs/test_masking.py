"""No password of a URI survives masking, and what is none stays as it is."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_pipelines.runs.masking import mask, mask_values

_SAFE = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
# All that a URI may hold there, and what people leave unescaped: "@", or what ends the host. With both, nobody could
# say where the password ends. It is no part of what stands around it.
_URI = "ABCXYZ0189!$%&'()*+,;=-._~:\""
_SECRET = st.one_of(
    st.text(_URI + more, min_size=1, max_size=20).map(lambda text: f"S{text}T") for more in ("@", "/?#")
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:secret@db/mlflow", "postgresql://me:***@db/mlflow"),
        ("postgresql+psycopg://me:s3:cr/et@db:5432/m", "postgresql+psycopg://me:***@db:5432/m"),
        ("redis://:secret@db", "redis://:***@db"),
        ("https://me:p@ss@db/x", "https://me:***@db/x"),
        ("https://o'brien:pass'word@db/x", "https://o'brien:***@db/x"),
        ("a://u:p@h and b://v:q@i, both", "a://u:***@h and b://v:***@i, both"),
        ('{"uri": "s3://key:secret@host"}', '{"uri": "s3://key:***@host"}'),
        ("--set 'registry_uri=x://u:p w@h'", "--set 'registry_uri=x://u:p w@h'"),
    ],
)
def test_only_the_password_goes(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/root/registry/registry.db",
        "gs://bucket/a@b/c:d",
        "http://localhost:5000/path/me@example",
        "http://localhost:5000",
        '["http://localhost:5000","me@example"]',
        "https://me@host/path",
        "local:/data/root/deployments",
        "mail me@example: it says https://x",
        "",
    ],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert mask(text) == text


@given(scheme=_SAFE, user=_SAFE | st.just(""), secret=_SECRET, host=_SAFE, before=_SAFE, after=_SAFE)
def test_no_password_survives(scheme: str, user: str, secret: str, host: str, before: str, after: str) -> None:
    uri = f"{scheme}://{user}:{secret}@{host}"
    masked = mask(f"{before} {uri}/{after} {after}")
    assert secret not in masked
    assert masked == f"{before} {scheme}://{user}:***@{host}/{after} {after}"
    assert secret not in json.dumps(mask_values({"a": [{"b": uri}], "c": uri}))


@given(st.text(max_size=80))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


def test_values_of_other_types_stay() -> None:
    values = {"rows": 1, "margin": 0.5, "quantize": True, "labels": ["a", 2], "none": None}
    assert mask_values(values) == values
