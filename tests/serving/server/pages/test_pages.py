"""What is served: small, without addresses elsewhere, and running nothing but its own."""

import re

from tunelane_serving.server.pages import DOCS, HEADERS, INDEX


def test_the_pages_are_small() -> None:
    assert len(INDEX) < 60_000
    assert len(DOCS) < 40_000


def test_the_pages_name_no_address_elsewhere() -> None:
    for page in (INDEX.decode(), DOCS.decode()):
        addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
        assert addresses <= {"http://www.w3.org/2000/svg"}
        assert not re.search(r"<script src|@import|innerHTML|localStorage|document\.write", page)


def test_only_the_pages_own_script_and_style_may_run() -> None:
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; connect-src 'self'; ")
    assert policy.count("'sha256-") == 4


def test_no_other_page_may_frame_these() -> None:
    assert "frame-ancestors 'none'" in HEADERS["content-security-policy"].split("; ")
