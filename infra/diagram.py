"""Draws a diagram of boxes and lines as SVG that is readable on a light and on a dark page.

    diagram.py SOURCE SVG           writes the SVG
    diagram.py --check SOURCE SVG   writes nothing; ends with 1 if the SVG is stale

The source explains its form in its first lines.
"""

import sys
from html import escape
from pathlib import Path

COLUMN, ROW = 172, 92  # From one box to the next, in pixels.
WIDTH, HEIGHT = 126, 46  # Of a box.
MARGIN, TOP = 8, 44
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328; text-anchor: middle; dominant-baseline: central }
    .label { font-size: 11.5px; fill: #59636e }
    rect { stroke-width: 1.5 }
    .page { fill: #ffffff }
    .actor { fill: none; stroke: #59636e; stroke-dasharray: 4 3 }
    .function { fill: #ddf4ff; stroke: #0969da }
    .queue { fill: #fff8c5; stroke: #9a6700 }
    .table { fill: #dafbe1; stroke: #1a7f37 }
    .line { fill: none; stroke: #59636e; stroke-width: 1.5 }
    .tip { fill: #59636e }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .page { fill: #0d1117 }
      .label { fill: #9198a1 }
      .actor, .line { stroke: #9198a1 }
      .function { fill: #121d2f; stroke: #4493f8 }
      .queue { fill: #272115; stroke: #d29922 }
      .table { fill: #12261e; stroke: #3fb950 }
      .tip { fill: #9198a1 }
    }
"""
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="tip" d="M0 0 8 4 0 8z"/></marker>'
)


def main(source: Path, target: Path, *, check: bool) -> int:
    drawn = draw(*parse(source.read_text()))
    if not check:
        target.write_text(drawn)
    elif drawn != target.read_text():
        print(f"{target} is stale: run `python3 infra/diagram.py {source} {target}`", file=sys.stderr)
        return 1
    return 0


def parse(text: str) -> tuple[str, dict[str, tuple[float, float, str, str]], list[tuple[str, str, bool, str]]]:
    title, boxes, edges = "", {}, []
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case [] | ["#", *_]:
                continue
            case ["title", *words]:
                title = " ".join(words)
            case ["box", name, column, row, ("actor" | "function" | "queue" | "table") as kind, *words]:
                boxes[name] = (float(column), float(row), kind, " ".join(words))
            case ["edge", start, end, *words] if start in boxes and end in boxes:
                above = words[:1] == ["above"]
                edges.append((start, end, above, " ".join(words[above:])))
            case _:
                sys.exit(f"line {number} is `{line}`; write a title, a box, or an edge between boxes above it")
    return title, boxes, edges


def draw(title: str, boxes: dict, edges: list) -> str:
    width = 2 * MARGIN + WIDTH + COLUMN * max(box[0] for box in boxes.values())
    height = TOP + HEIGHT + MARGIN + ROW * max(box[1] for box in boxes.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">',
        f"  <title>{escape(title)}</title>",
        f"  <style>{STYLE}  </style>",
        f"  {TIP}",
        '  <rect class="page" width="100%" height="100%" rx="6"/>',
    ]
    for start, end, above, text in edges:
        parts += edge(boxes[start], boxes[end], above, text)
    for column, row, kind, text in boxes.values():
        x, y = MARGIN + COLUMN * column, TOP + ROW * row
        rounded = {"actor": 22, "queue": 14}.get(kind, 4)
        parts.append(f'  <rect class="{kind}" x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="{rounded}"/>')
        lines = text.split("|")
        for index, line in enumerate(lines):
            offset = 17 * (index - (len(lines) - 1) / 2)
            parts.append(f'  <text x="{x + WIDTH / 2:g}" y="{y + HEIGHT / 2 + offset:g}">{escape(line)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def edge(start: tuple, end: tuple, above: bool, text: str) -> list[str]:
    (from_x, from_y), (to_x, to_y) = center(start), center(end)
    if above:
        up = from_y - HEIGHT / 2 - 24
        d = f"M{from_x:g} {from_y - HEIGHT / 2:g}V{up:g}H{to_x:g}V{to_y - HEIGHT / 2 - 2:g}"
        label = ((from_x + to_x) / 2, up - 10)
    else:
        (from_x, from_y), (to_x, to_y) = border(start, end, 0), border(end, start, 2)
        d = f"M{from_x:g} {from_y:g}L{to_x:g} {to_y:g}"
        label = ((from_x + to_x) / 2, (from_y + to_y) / 2 - 10)
    path = f'  <path class="line" d="{d}" marker-end="url(#tip)"/>'
    return [path] + ([f'  <text class="label" x="{label[0]:g}" y="{label[1]:g}">{escape(text)}</text>'] if text else [])


def center(box: tuple) -> tuple[float, float]:
    return MARGIN + COLUMN * box[0] + WIDTH / 2, TOP + ROW * box[1] + HEIGHT / 2


def border(box: tuple, other: tuple, gap: float) -> tuple[float, float]:
    """Where the straight line from the center of `box` to that of `other` leaves the box, and `gap` pixels further."""
    (x, y), (other_x, other_y) = center(box), center(other)
    across, down = other_x - x, other_y - y
    part = min(
        (WIDTH / 2 + gap) / abs(across) if across else 1,
        (HEIGHT / 2 + gap) / abs(down) if down else 1,
    )
    return round(x + across * part, 1), round(y + down * part, 1)


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:] if argument != "--check"]
    if len(paths) != 2:
        sys.exit(__doc__)
    sys.exit(main(*paths, check="--check" in sys.argv))
