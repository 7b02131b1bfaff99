"""No password of a URI survives masking, and what is none stays as it is."""

import json
from urllib.parse import quote

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
        ("git+https://ghp_1a2B@github.com/x", "git+https://***@github.com/x"),
        ("https://token:@host/x", "https://***@host/x"),
        ("HTTPS://to@ken@host", "HTTPS://***@host"),
        ("https://h/x?a=1&password=p&b=2#c", "https://h/x?a=1&password=***&b=2#c"),
        ("https://h?token=t access", "https://h?token=*** access"),
        ("https://h?access_token=t&API_KEY=k&apikey=k", "https://h?access_token=***&API_KEY=***&apikey=***"),
        ("https://h/o?X-Goog-Algorithm=a&X-Goog-Signature=5f", "https://h/o?X-Goog-Algorithm=a&X-Goog-Signature=***"),
        ("it has one (https://h/o?token=***), which logs show", "it has one (https://h/o?token=***), which logs show"),
        ("https://h/o?key=k&sig=s&client_secret=x", "https://h/o?key=***&sig=***&client_secret=***"),
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
        "postgresql://me@host/path",
        "ssh://git@host/path",
        "https://h/x?design=a&monkey=b&tokens=3&rows=4",
        "https://h/x?q=me@example&page=2",
        "gs://bucket/token=a/rows.csv",
        "the key=value of a table",
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


@given(scheme=st.sampled_from(["http", "https", "git+https"]), secret=st.text(_URI + "@", min_size=1, max_size=20))
def test_no_token_before_a_host_survives(scheme: str, secret: str) -> None:
    # A quotation mark ends what stands in JSON, and what a colon parts is a name and a password.
    secret = "S" + secret.translate(str.maketrans('":', "';")) + "T"
    assert mask(f"a {scheme}://{secret}@host/x b") == f"a {scheme}://***@host/x b"


_NAMES = ("password", "token", "access_token", "api_key", "key", "sig", "X-Goog-Signature", "X-Amz-Security-Token")


@given(name=st.sampled_from(_NAMES), secret=st.text(min_size=1, max_size=20), before=_SAFE, after=_SAFE)
def test_no_secret_in_a_query_survives_whatever_its_characters(name: str, secret: str, before: str, after: str) -> None:
    written = quote(f"S{secret}T", safe="")
    masked = mask(f"https://host/x?{before}a=1&{name}={written}&{after}n=2")
    assert masked == f"https://host/x?{before}a=1&{name}=***&{after}n=2"


@given(name=st.sampled_from(_NAMES), secret=st.text(_URI + "/?@\"'{}[]", min_size=1, max_size=20).map("S{}T".format))
def test_no_secret_in_a_query_survives_where_its_writer_did_not_escape_it(name: str, secret: str) -> None:
    secret = secret.replace("&", "+")
    masked = mask(f"https://host/x?{name}={secret} more")
    assert secret not in masked
    assert masked.endswith(f"?{name}=*** more")


@given(st.text(max_size=80))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


def test_values_of_other_types_stay() -> None:
    values = {"rows": 1, "margin": 0.5, "quantize": True, "labels": ["a", 2], "none": None}
    assert mask_values(values) == values
