"""Speed against memory as an SVG of its own, written by hand: a panel per kind of routing, with curves for Locum,
llama.cpp and the physical bound. Logarithmic in speed, since a starved model is tens of times slower.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 300, 260, 56, 44, 48, 30
COLOURS = {"bound": "#888888", "locum": "#1666b0", "llama": "#c2571a"}
NAMES = {"bound": "physical bound", "locum": "Locum", "llama": "llama.cpp (mmap)"}


def ticks(low: float, high: float) -> list[float]:
    steps = [m * 10.0**e for e in range(-3, 5) for m in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def panel(x: int, title: str, curves: dict[str, list[tuple[float, float]]], low: float, high: float) -> list[str]:
    """Points are (bytes, tokens/s); all panels share the scale of speed."""
    most = max((at for points in curves.values() for at, _ in points), default=1) * 1.08
    middle = x + LEFT + WIDTH / 2
    across = lambda at: x + LEFT + at / most * WIDTH  # noqa: E731
    up = lambda rate: TOP + HEIGHT * (1 - math.log(rate / low) / math.log(high / low))  # noqa: E731
    out = [
        f'<rect x="{x + LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#bbb"/>',
        f'<text x="{middle}" y="{TOP - 10}" text-anchor="middle" font-weight="bold">{escape(title)}</text>',
        f'<text x="{middle}" y="{TOP + HEIGHT + 38}" text-anchor="middle">memory, GiB</text>',
    ]
    for rate in ticks(low, high):
        out.append(
            f'<line x1="{x + LEFT}" x2="{x + LEFT + WIDTH}" y1="{up(rate):.1f}" y2="{up(rate):.1f}" stroke="#eee"/>'
            f'<text x="{x + LEFT - 6}" y="{up(rate) + 4:.1f}" text-anchor="end">{rate:g}</text>')
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if most / 2**30 / s <= 7)
    for index in range(int(most / 2**30 / step) + 1):
        at = index * step * 2**30
        out.append(
            f'<text x="{across(at):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{index * step:g}</text>')
    for name, points in curves.items():
        places = [(across(at), up(max(rate, low))) for at, rate in sorted(points)]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dash = ' stroke-dasharray="5 4"' if name == "bound" else ""
        out.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{COLOURS[name]}"/>' for a, b in places]
    return out


def plot(path: Path, title: str, panels: dict[str, dict[str, list[tuple[float, float]]]]):
    rates = [rate for curves in panels.values() for points in curves.values() for _, rate in points if rate > 0]
    if not rates:
        return
    low, high = min(rates) / 1.3, max(rates) * 1.3
    across = len(panels) * (LEFT + WIDTH + GAP)
    height = TOP + HEIGHT + BOTTOM + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{height}" font-family="sans-serif" '
        'font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{across / 2}" y="16" text-anchor="middle">{escape(title)}</text>',
    ]
    for index, (name, curves) in enumerate(panels.items()):
        out += panel(index * (LEFT + WIDTH + GAP), name, {k: v for k, v in curves.items() if v}, low, high)
    for index, (key, name) in enumerate(NAMES.items()):
        x, y = LEFT + index * 150, height - 14
        out.append(
            f'<circle cx="{x}" cy="{y - 4}" r="4" fill="{COLOURS[key]}"/><text x="{x + 10}" y="{y}">{name}</text>')
    path.write_text("\n".join([*out, "</svg>", ""]))
