"""A plot with two logarithmic axes as SVG, for the scripts of this folder. Needs no package."""

import math

COLOURS = ("#4878a8", "#c44e52", "#55a868", "#8172b2")
LEFT, TOP, WIDE, HIGH = 70, 40, 560, 320


def decades(low, high):
    """1, 2, 5, 10, ... between two values."""
    steps = (m * 10 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for m in (1, 2, 5))
    return [step for step in steps if low <= step <= high]


def log_log(title, x_title, y_title, series):
    """`series` are `name`, `points` (joined) and `law` (dashed), both lists of (x, y)."""
    xs = sorted({x for s in series for x, _ in s["points"]})
    ys = [y for s in series for _, y in s["points"] + s["law"]]
    low, high = min(ys) / 1.3, max(ys) * 1.3
    x_at = lambda x: LEFT + WIDE * math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
    y_at = lambda y: TOP + HIGH * (1 - math.log(y / low) / math.log(high / low))
    path = lambda points: " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in points)
    height = TOP + HIGH + 50 + 20 * len(series)
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 30} {height}" font-family="sans-serif" font-size="12">',
           '<rect width="100%" height="100%" fill="white"/>', f'<text x="{LEFT}" y="20" font-size="14">{title}</text>']
    for x in xs:
        svg += [f'<line x1="{x_at(x):.1f}" x2="{x_at(x):.1f}" y1="{TOP}" y2="{TOP + HIGH}" stroke="#eee"/>',
                f'<text x="{x_at(x):.1f}" y="{TOP + HIGH + 16}" text-anchor="middle">{x}</text>']
    for y in decades(low, high):
        svg += [f'<line x1="{LEFT}" x2="{LEFT + WIDE}" y1="{y_at(y):.1f}" y2="{y_at(y):.1f}" stroke="#eee"/>',
                f'<text x="{LEFT - 6}" y="{y_at(y) + 4:.1f}" text-anchor="end">{y:g}</text>']
    svg += [f'<text x="{LEFT + WIDE / 2}" y="{TOP + HIGH + 34}" text-anchor="middle">{x_title}</text>',
            f'<text transform="translate(16 {TOP + HIGH / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>']
    for i, s in enumerate(series):
        colour, y = COLOURS[i % len(COLOURS)], TOP + HIGH + 56 + 20 * i
        svg += [f'<polyline points="{path(s["law"])}" fill="none" stroke="{colour}" stroke-dasharray="4 4"/>',
                f'<polyline points="{path(s["points"])}" fill="none" stroke="{colour}" stroke-width="2"/>',
                *(f'<circle cx="{x_at(x):.1f}" cy="{y_at(v):.1f}" r="3" fill="{colour}"/>' for x, v in s["points"]),
                f'<line x1="{LEFT}" x2="{LEFT + 24}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>',
                f'<text x="{LEFT + 32}" y="{y}">{s["name"]}</text>']
    return "\n".join(svg) + "\n</svg>\n"
