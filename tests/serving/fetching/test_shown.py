import pytest

from tunelane_serving.fetching.shown import shown


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://host/models/1.zip", "https://host/models/1.zip"),
        ("https://host/1.zip?X-Goog-Signature=secret", "https://host/1.zip?***"),
        ("https://user:secret@host:8443/a@b/1.zip", "https://***@host:8443/a@b/1.zip"),
        ("https://secret@host?sig=secret#secret", "https://***@host?***"),
        ("https://host/1.zip#secret", "https://host/1.zip"),
        ("gs://bucket/models/1", "gs://bucket/models/1"),
        ("./what?/model@main", "./what?/model@main"),
        ("organisation/encoder", "organisation/encoder"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_secret(address: str, said: str) -> None:
    assert shown(address) == said
