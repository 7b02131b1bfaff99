"""The file that says where the images lie: logical names to references, by tag in development, by digest in release."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tunelane_components.images import EXTRA_BY_IMAGE, IMAGE_BY_COMPONENT
from tunelane_pipelines.nearest import no_such
from tunelane_serving.errors import InputError

LAUNCHER = "google-cloud-pipeline-components"
"""Logical name of the image that starts training on Vertex AI; where a file does not name it, it is Google's by tag."""

# The grammar of references of the OCI distribution specification, its digest limited to SHA-256.
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d+)?/"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST})?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", re.ASCII
)


def read_images(path: Path, *, required: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Read the JSON file `{logical name: image reference}`: every one of `required`, and nothing that is not `known`.

    Raises:
        InputError: it is missing, not JSON, not such a mapping, or names too much or too little.
    """
    wanted, names = sorted(required), sorted(known)
    example = f'{{"{wanted[0]}": "REGISTRY/IMAGE@sha256:DIGEST", ...}}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Pass the path of a JSON file to --images.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: {error.msg}. Write JSON: {example}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a mapping of image names. Write {example}.")
    for name, reference in content.items():
        if name not in names:
            raise InputError(f"{path}: {no_such('image', name, names)}")
        if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
            raise InputError(
                f"{path}: {name}: {reference!r} is no image reference. Write REGISTRY/IMAGE:TAG or "
                "REGISTRY/IMAGE@sha256:DIGEST (64 hexadecimal digits)."
            )
    missing = [name for name in wanted if name not in content]
    if missing:
        raise InputError(f"{path}: nothing for {', '.join(missing)}. Add it: components run in it.")
    return content


def read_lane_images(path: Path) -> dict[str, str]:
    """Read the file of a build or a release: every image that components run in, maybe the server's and the launcher's.

    Raises:
        InputError: as `read_images`.
    """
    return read_images(path, required=set(IMAGE_BY_COMPONENT.values()), known=(*EXTRA_BY_IMAGE, LAUNCHER))


def is_pinned(reference: str) -> bool:
    """Whether an image is named by its digest: then it is the same code for ever."""
    return "@sha256:" in reference
