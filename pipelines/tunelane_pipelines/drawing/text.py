"""Text in a drawing: how wide it runs and where it breaks."""

_NARROW = frozenset("ijltfr.,:;|!'()[]{}/- ")
_WIDE = frozenset("mwMW@%&")
_ELLIPSIS = "…"


def width(text: str, size: float) -> float:
    """About how wide `text` runs in a sans-serif font of `size`; rather too wide, as readers' fonts differ."""
    return size * sum(map(_em, text))


def shortened(text: str, size: float, limit: float) -> str:
    """`text`, cut with an ellipsis where it is wider than `limit`."""
    if width(text, size) <= limit:
        return text
    while text and width(text + _ELLIPSIS, size) > limit:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


def wrapped(text: str, size: float, limit: float, lines: int = 2) -> tuple[str, ...]:
    """`text` on at most so many lines of width `limit`, broken between words; what is left over is cut."""
    words, broken = text.split(), [""]
    for word in words:
        longer = f"{broken[-1]} {word}".strip()
        if broken[-1] and len(broken) < lines and width(longer, size) > limit:
            broken.append(word)
        else:
            broken[-1] = longer
    return tuple(shortened(line, size, limit) for line in broken)


def _em(character: str) -> float:
    """One character's width in em: about that of DejaVu Sans, which is a wide font."""
    if character in _NARROW:
        return 0.35
    if character in _WIDE:
        return 0.95
    if character.isascii():
        return 0.67 if character.isupper() else 0.6
    return 0.69 if character.isalpha() and ord(character) < 0x2E80 else 1.25
