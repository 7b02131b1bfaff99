"""The pages a person looks at: `/` (try it, watch it) and `/docs` (the API). One file each."""

import base64
import hashlib
import re
from pathlib import Path

_FOLDER = Path(__file__).parent

INDEX: bytes = (_FOLDER / "index.html").read_bytes()
DOCS: bytes = (_FOLDER / "docs.html").read_bytes()


def _sources(tag: str) -> str:
    """Give the CSP hashes of what stands in the pages' own elements: nothing else may run or set style."""
    pattern = re.compile(f"<{tag}>(.*?)</{tag}>".encode(), re.DOTALL)
    digests = [hashlib.sha256(content).digest() for page in (INDEX, DOCS) for content in pattern.findall(page)]
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


HEADERS: dict[str, str] = {
    "content-security-policy": (
        f"default-src 'none'; connect-src 'self'; img-src data:; script-src {_sources('script')}; "
        f"style-src {_sources('style')}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
