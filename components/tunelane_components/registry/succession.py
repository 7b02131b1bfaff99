"""Who was champion before whom: what a rollback goes by, whatever the registry is kept in."""

from collections.abc import Sequence

from tunelane_components.registry.interface import ChampionMoved

LONGEST_SUCCESSION = 100


def moved(succession: Sequence[str], champion: str | None, to: str | None) -> list[str]:
    """The succession after the champion moves on to a new version, back to one that stands in it, or away to nobody."""
    if to is None:
        return [version for version in succession if version != champion]
    earlier = succession[: succession.index(to)] if to in succession else succession
    return [*earlier, to]


def require_champion(name: str, current: str | None, expected: str | None) -> None:
    """Stop where the champion is another than was expected; raises ChampionMoved."""
    if current != expected:
        raise ChampionMoved(
            f"The champion of {name!r} moved from {_spoken(expected)} to {_spoken(current)} while this run was "
            "going; nothing was changed. Run again to be compared with it."
        )


def _spoken(version: str | None) -> str:
    return f"version {version}" if version is not None else "nobody"
