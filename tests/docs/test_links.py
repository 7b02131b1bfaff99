"""Links between the pages lead somewhere; those to elsewhere are well formed, and not fetched."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import PAGES, ROOT, name

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+).+?\1")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _links(page: Path) -> Iterator[str]:
    return (match[1] for match in _LINK.finditer(_CODE.sub("", _FENCED.sub("", page.read_text()))))


def _anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https" and re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), link
            continue
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.is_relative_to(ROOT) and target.exists(), link
        assert not parts.fragment or parts.fragment in _anchors(target), link


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / urlsplit(link).path).resolve()
        for page in PAGES
        for link in _links(page)
        if urlsplit(link).path and not urlsplit(link).scheme
    }
    assert [name(page) for page in PAGES if page not in linked] == []


def test_no_page_names_a_place_of_one_machine() -> None:
    # But for the home in the server's image, which every machine has alike.
    for page in PAGES:
        assert not re.search(r"/(home(?!/tunelane/)|root|Users|tmp|work)/", page.read_text()), name(page)
