"""Ratios as an SVG of its own: a bar per case from 1, where both are as fast, with the least and the most of the rounds.
Logarithmic, so that twice as fast and half as fast are as long.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

NAMES, WIDTH, ROW, TOP, BOTTOM, EDGE = 250, 420, 22, 44, 40, 40
AHEAD, BEHIND = "#1666b0", "#c2571a"


def plot(path: Path, title: str, bars: list[tuple[str, float, float, float]]):
    """Bars are (name, ratio, least, most), of times as much work in the same time: above 1 is ahead."""
    if not bars:
        return
    reach = max(2.0, *(max(most, 1 / least) for _, _, least, most in bars)) * 1.1
    across = lambda ratio: NAMES + WIDTH * (1 + math.log(ratio) / math.log(reach)) / 2  # noqa: E731
    width, height = NAMES + WIDTH + EDGE, TOP + ROW * len(bars) + BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12">', '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{width / 2}" y="20" text-anchor="middle" font-weight="bold">{escape(title)}</text>']
    for tick in (0.125, 0.25, 0.5, 1, 2, 4, 8):
        if not 1 / reach <= tick <= reach:
            continue
        x, line = across(tick), "#444" if tick == 1 else "#ddd"
        out.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 10}" y2="{height - BOTTOM + 4}" stroke="{line}"/>'
            f'<text x="{x:.1f}" y="{height - BOTTOM + 20}" text-anchor="middle">{tick:g}</text>')
    for index, (name, ratio, least, most) in enumerate(bars):
        y, one = TOP + ROW * index, across(1)
        start, end = sorted((one, across(ratio)))
        out.append(
            f'<text x="{NAMES - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{start:.1f}" y="{y + 3}" width="{max(1, end - start):.1f}" height="{ROW - 8}" '
            f'fill="{AHEAD if ratio >= 1 else BEHIND}"/>'
            f'<line x1="{across(least):.1f}" x2="{across(most):.1f}" y1="{y + 10}" y2="{y + 10}" stroke="#222"/>'
            f'<text x="{NAMES + WIDTH + 4}" y="{y + 14}">{ratio:.2f}</text>')
    path.write_text("\n".join([*out, "</svg>", ""]))
