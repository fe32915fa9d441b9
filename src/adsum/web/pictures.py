"""Small pictures for the pages, as SVG inside the document. All numbers in them are in attributes: the content security
policy admits no style there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

WIDTH = 320


def bar(part: float, label: str) -> Markup:
    """A bar of which a part from 0 to 1 is filled."""
    # What is not empty does not look empty.
    filled = round(max(0.0 if part <= 0 else 2.0, min(1.0, part) * WIDTH), 1)
    level = "high" if part > 0.8 else "middle" if part > 0.5 else "low"
    return Markup(
        '<svg class="bar" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="track" width="{}" height="10"/><rect class="fill {}" width="{}" height="10"/></svg>'
    ).format(WIDTH, label, WIDTH, level, filled)


def stacked_bar(parts: Sequence[tuple[str, int]], label: str) -> Markup:
    """A bar of several parts, each with its class and its number."""
    total = sum(number for _, number in parts)
    x, rects = 0.0, Markup("")
    for name, number in parts:
        if not number:
            continue
        width = WIDTH * number / total
        rects += Markup('<rect class="{}" x="{}" width="{}" height="6"/>').format(name, round(x, 2), round(width, 2))
        x += width
    return Markup(
        '<svg class="stacked" viewBox="0 0 {} 6" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, label, rects)


def spark(values: Sequence[float], label: str) -> Markup:
    """A line of the values over time, the newest on the right."""
    height, most = 40, max(values, default=0.0) or 1.0
    step = WIDTH / max(1, len(values) - 1)
    points = [
        (round(n * step, 1), round(height - 2 - (height - 4) * value / most, 1)) for n, value in enumerate(values)
    ]
    line = " ".join(f"{x},{y}" for x, y in points)
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<polygon points="0,{} {} {},{}"/><polyline points="{}"/></svg>'
    ).format(WIDTH, height, label, height, line, WIDTH, height, line)


# The decades of the strip, in seconds.
_LEAST, _MOST = 1e-5, 1.0
_TICKS = ((1e-4, "0.1 ms"), (1e-3, "1 ms"), (1e-2, "10 ms"), (1e-1, "100 ms"))


def strip(seconds: Sequence[float], bound: float, label: str) -> Markup:
    """A strip of one dot for each latency, on a logarithmic scale, with a line at `bound`. Dots that fall together are
    piled up."""
    height, base = 78, 58
    piles: dict[int, int] = {}
    for value in seconds:
        column = round(_offset(value) / 4)
        piles[column] = piles.get(column, 0) + 1
    most = max(piles.values(), default=1)
    dots = Markup("").join(
        Markup('<rect class="pile" x="{}" y="{}" width="3" height="{}"/>').format(
            column * 4, round(base - 2 - tall, 1), round(tall, 1)
        )
        for column, number in sorted(piles.items())
        for tall in [4 + 46 * (number / most)]
    )
    ticks = Markup("").join(
        Markup('<line class="tick" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/><text x="{0}" y="{3}">{4}</text>').format(
            _offset(value), base, base + 4, height - 4, text
        )
        for value, text in _TICKS
    )
    at = _offset(bound)
    return Markup(
        '<svg class="strip" viewBox="0 0 {} {}" role="img" aria-label="{}"><line class="axis" x1="0" x2="{}" y1="{}" '
        'y2="{}"/>{}<line class="bound" x1="{}" x2="{}" y1="4" y2="{}"/>{}</svg>'
    ).format(WIDTH, height, label, WIDTH, base, base, ticks, at, at, base, dots)


def _offset(seconds: float) -> float:
    part = (math.log10(max(_LEAST, min(_MOST, seconds))) - math.log10(_LEAST)) / (
        math.log10(_MOST) - math.log10(_LEAST)
    )
    return round(part * (WIDTH - 4), 1)
