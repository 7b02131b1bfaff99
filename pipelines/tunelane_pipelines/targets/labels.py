"""What a label of a run may be: the grammar of Google Cloud's labels, which Kubeflow's are held to, too.

https://cloud.google.com/resource-manager/docs/labels-overview#requirements
"""

import re

from tunelane_serving.errors import InputError

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def check_label(name: str, value: str) -> None:
    """Refuse a label that no service takes.

    Raises:
        InputError: its name or its value breaks the grammar.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"The label {name!r} cannot be used: up to 63 of a-z, 0-9, _ and -, a letter first.")
    if not _VALUE.fullmatch(value):
        raise InputError(f"The label {name}={value!r} cannot be used: its value is up to 63 of a-z, 0-9, _ and -.")
