"""The templates of every stage's section, filled with what a stage measured."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def fill(template: str, **values: object) -> str:
    """Fill a template of this package: names from the data are escaped, a name that is not given is an error."""
    return _environment().get_template(template).render(**values)


def style() -> str:
    """Read the style sheet that every page shares."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    # Imported here: whoever asks only for a stage's logic should not pay for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "f1": lambda number: f"{number:.3f}",
        "points": lambda share: f"{100 * share:+.1f}",
        "percent": lambda share: f"{100 * share:.1f} %",
        "short": lambda number: f"{number:.3g}",
    }
    return environment
