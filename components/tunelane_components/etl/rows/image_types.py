"""The images that a record may name, by the ending of their URI."""

from pathlib import PurePosixPath
from urllib.parse import urlsplit

# What Gemini takes: https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding
MIME_TYPE_BY_SUFFIX = {
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}


def mime_type_of(uri: str) -> str:
    """Return the MIME type of the image at `uri`, an empty text for a type that is not supported."""
    try:
        path = urlsplit(uri).path
    except ValueError:  # such as an unclosed bracket in the host
        return ""
    return MIME_TYPE_BY_SUFFIX.get(PurePosixPath(path).suffix.lower(), "")
