"""The page at `/`: type a text, see the labels. One file, no network but this server."""

from pathlib import Path

PAGE = Path(__file__).with_name("page.html").read_bytes()
PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "x-content-type-options": "nosniff",
}
