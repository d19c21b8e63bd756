"""Draws bars as SVG that is readable on a light and on a dark page.

    chart.py SOURCE SVG           writes the SVG
    chart.py --check SOURCE SVG   writes nothing; ends with 1 if the SVG is stale

The source has lines `title TEXT`, `panel TEXT`, and `bar MILLISECONDS TEXT`; a bar `bar! …` is the one that the bound is
computed from, 1.2 times as long. Lines that begin with `#` are comments.
"""

import sys
from html import escape
from pathlib import Path

WIDTH, LABEL, ROW, BAR, TOP, GAP = 760, 250, 24, 14, 44, 40  # In pixels.
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1f2328; dominant-baseline: central }
    .title { font-weight: 600 }
    .label { text-anchor: end }
    .value { font-size: 11.5px; fill: #59636e }
    .page { fill: #ffffff }
    .bar { fill: #54aeff }
    .reference { fill: #8c959f }
    .bound { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .page { fill: #0d1117 }
      .value { fill: #9198a1 }
      .bar { fill: #1f6feb }
      .reference { fill: #6e7681 }
      .bound { stroke: #f85149 }
    }
"""
BOUND = 1.2

Panel = tuple[str, list[tuple[float, bool, str]]]


def main(source: Path, target: Path, *, check: bool) -> int:
    drawn = draw(*parse(source.read_text()))
    if not check:
        target.write_text(drawn)
    elif drawn != target.read_text():
        print(f"{target} is stale: run `python3 infra/bench/chart.py {source} {target}`", file=sys.stderr)
        return 1
    return 0


def parse(text: str) -> tuple[str, list[Panel]]:
    title, panels = "", []
    for number, line in enumerate(text.splitlines(), 1):
        match line.split(maxsplit=2):
            case [] | ["#", *_]:
                continue
            case ["title", *words]:
                title = " ".join(words)
            case ["panel", *words]:
                panels.append((" ".join(words), []))
            case ["bar" | "bar!" as kind, milliseconds, label] if panels:
                panels[-1][1].append((float(milliseconds), kind == "bar!", label))
            case _:
                raise SystemExit(f"line {number} is `{line}`; expected `title`, `panel` or `bar` in a panel")
    return title, panels


def draw(title: str, panels: list[Panel]) -> str:
    longest = max(milliseconds for _, bars in panels for milliseconds, _, _ in bars)
    scale = (WIDTH - LABEL - 90) / longest
    parts, y = [f'<text class="title" x="8" y="22">{escape(title)}</text>'], TOP
    for name, bars in panels:
        parts.append(f'<text class="title" x="8" y="{y + ROW // 2}">{escape(name)}</text>')
        y += ROW
        top = y
        for milliseconds, is_reference, label in bars:
            middle = y + ROW // 2
            width = max(1, round(milliseconds * scale))
            kind = "reference" if is_reference else "bar"
            parts.append(f'<text class="label" x="{LABEL - 8}" y="{middle}">{escape(label)}</text>')
            parts.append(f'<rect class="{kind}" x="{LABEL}" y="{middle - BAR // 2}" width="{width}" height="{BAR}"/>')
            parts.append(f'<text class="value" x="{LABEL + width + 6}" y="{middle}">{milliseconds:g} ms</text>')
            y += ROW
        for reference in (milliseconds for milliseconds, is_reference, _ in bars if is_reference):
            x = LABEL + round(BOUND * reference * scale)
            parts.append(f'<line class="bound" x1="{x}" y1="{top}" x2="{x}" y2="{y}"/>')
        y += GAP - ROW
    body = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">\n'
        f"  <title>{escape(title)}</title>\n  <style>{STYLE}  </style>\n"
        f'  <rect class="page" width="{WIDTH}" height="{y}"/>\n  {body}\n</svg>\n'
    )


if __name__ == "__main__":
    arguments = sys.argv[1:]
    check = arguments[:1] == ["--check"]
    source, target = (Path(name) for name in arguments[check:])
    sys.exit(main(source, target, check=check))
