"""The geometry of charts: scales, ticks and paths in SVG units, positions on a strip in percent.

A chart is 340 units wide, about as wide as a phone, so that its text stays readable where it is not scaled down.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
# Where it begins and ends on x, and how high it is.
Bar = tuple[float, float, float]

WIDTH = 340
HEIGHT = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 42
_DIAMOND = 4.5
_BAR_GAP = 1
# Of a strip of F1 figures: two points.
_LEAST_STRIP = 0.02


@dataclass(frozen=True)
class Tick:
    """Where on its axis a label stands."""

    at: float
    label: str


@dataclass(frozen=True)
class Scale:
    """A straight line from values, `low` to `high`, to positions, `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Give the position of a value, to a tenth of a unit."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, *, most: int = 5, whole: bool = False, factor: float = 1.0) -> tuple[Tick, ...]:
        """Give labelled ticks at round values; `whole` ones for counts, labels multiplied by `factor`."""
        values = round_values(self.low * factor, self.high * factor, most, 1.0 if whole else 0.0)
        labels = labelled(values)
        return tuple(Tick(self(value / factor), label) for value, label in zip(values, labels, strict=True))


@dataclass(frozen=True)
class Chart:
    """Two scales and their ticks in a box of WIDTH by HEIGHT; y grows upwards."""

    x: Scale
    y: Scale
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole drawing."""
        return WIDTH, HEIGHT

    def line(self, points: Iterable[Point]) -> str:
        """Give the path through `points`."""
        return "M" + "L".join(f"{self.x(x):g} {self.y(y):g}" for x, y in points)

    def dots(self, points: Iterable[Point]) -> str:
        """Give a path of no length at each point, which a round line cap makes a dot."""
        return "".join(f"M{self.x(x):g} {self.y(y):g}h0" for x, y in points)

    def diamonds(self, points: Iterable[Point]) -> str:
        """Give the outline of a diamond around each point."""
        d = _DIAMOND
        return "".join(f"M{self.x(x):g} {self.y(y) - d:g}l{d} {d} -{d} {d} -{d} -{d}z" for x, y in points)

    def bars(self, bars: Iterable[Bar]) -> str:
        """Give the outline of each bar, from the axis up, with a gap beside it where there is room for one."""
        outlines = []
        for left, right, height in bars:
            start, end = self.x(left), self.x(right)
            gap = _BAR_GAP if end - start > 3 * _BAR_GAP else 0
            # What is there can be seen.
            top = min(self.y(height), self.y.start - 1)
            outlines.append(f"M{start:g} {self.y.start:g}V{top:g}H{end - gap:g}V{self.y.start:g}z")
        return "".join(outlines)


def chart(x: tuple[float, float], y: tuple[float, float], *, whole_x: bool = False) -> Chart:
    """Make a chart over the given ranges; a range without extent is widened."""
    across, up = (_widened(*x), _widened(*y))
    x_scale = Scale(*across, _LEFT, WIDTH - _RIGHT)
    y_scale = Scale(*up, HEIGHT - _BOTTOM, _TOP)
    return Chart(x_scale, y_scale, x_scale.ticks(whole=whole_x), y_scale.ticks())


def padded(values: Iterable[float], share: float = 0.08) -> tuple[float, float]:
    """Give the range of `values` with some of its extent added at both ends."""
    low, high = _widened(*_range(values))
    return low - share * (high - low), high + share * (high - low)


@dataclass(frozen=True)
class Strip:
    """A figure on a line of its own beside what was asked for, in percent of its length."""

    value: float
    threshold: float
    lower: float | None
    upper: float | None
    ticks: tuple[Tick, ...]


def strip(
    value: float,
    threshold: float,
    lower: float | None,
    upper: float | None,
    *,
    whole: bool = False,
    factor: float = 1.0,
) -> Strip:
    """Place a figure, its interval where it has one, and a threshold on one line; counts begin at 0."""
    # A tie is no reason to look at millionths.
    least = 1.0 if whole else _LEAST_STRIP
    shown = [value, threshold, *(bound for bound in (lower, upper) if bound is not None), *([0.0] if whole else [])]
    low, high = _range(shown)
    missing = max(least - (high - low), 0.0) / 2
    scale = Scale(*padded((low - missing, high + missing), 0.1), 0, 100)
    return Strip(
        value=scale(value),
        threshold=scale(threshold),
        lower=None if lower is None else scale(lower),
        upper=None if upper is None else scale(upper),
        ticks=scale.ticks(most=6, whole=whole, factor=factor),
    )


def round_values(low: float, high: float, most: int = 5, smallest_step: float = 0.0) -> list[float]:
    """Give at most `most` + 1 values of the form k · {1, 2, 5} · 10ⁿ from `low` to `high`."""
    step = max((high - low) / most, smallest_step)
    magnitude = 10.0 ** math.floor(math.log10(step))
    step = next((size * magnitude for size in (1, 2, 5) if size * magnitude >= step * (1 - 1e-9)), 10 * magnitude)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def labelled(values: Sequence[float]) -> list[str]:
    """Write values with as many decimals as tell neighbours apart."""
    step = values[1] - values[0] if len(values) > 1 else (abs(values[0]) or 1.0 if values else 1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value + 0.0:,.{decimals}f}" for value in values]


def _range(values: Iterable[float]) -> tuple[float, float]:
    listed = list(values)
    return min(listed), max(listed)


def _widened(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    half = abs(low) / 10 or 0.5
    return low - half, high + half
