"""Records a program's output as an SVG, in the colours that it has in a terminal.

    record_demo.py FILE.svg COMMAND …

Runs COMMAND with a terminal of its own, shows its output meanwhile, and writes FILE.svg if it succeeds. The picture follows
the reader's light or dark theme, needs no script and no font but a monospaced one, and places each piece of a
line by its column, so that columns stay straight in any font. `make demo-svg` runs this.
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from xml.sax.saxutils import escape

COLUMNS, ROWS = 120, 40
# Pixels. A character of a monospaced font is 0.6 em wide.
FONT_SIZE, LINE_HEIGHT, MARGIN = 14, 20, 20
CHARACTER_WIDTH = FONT_SIZE * 0.6
# The parameters of SGR (ECMA-48) that the demo uses, and their class in the picture.
CLASSES = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow"}
# The contrast to the background is 4.5 or more in both themes (WCAG 2.2, 1.4.3).
STYLE = """
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; }
  rect { fill: #f6f8fa; stroke: #d1d9e0; }
  .bold { font-weight: bold; } .dim { fill: #59636e; }
  .red { fill: #cf222e; } .green { fill: #116329; } .yellow { fill: #7d4e00; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    rect { fill: #0d1117; stroke: #3d444d; }
    .dim { fill: #9198a1; } .red { fill: #ff7b72; } .green { fill: #7ee787; } .yellow { fill: #f2cc60; }
  }
"""


def main() -> int:
    picture, *command = sys.argv[1:]
    output, status = run(command)
    if status == 0:
        Path(picture).write_text(draw(output, "make demo"))
    return status


def run(command: list[str]) -> tuple[str, int]:
    """Runs `command` in a terminal of COLUMNS columns. Returns its output and exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(command, stdout=theirs, env=env)
    os.close(theirs)
    output = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # Linux reports the end of a terminal as EIO, macOS as an empty piece.
            break
        if not piece:
            break
        output += piece
        sys.stdout.buffer.write(piece)
        sys.stdout.flush()
    os.close(ours)
    return output.decode(), process.wait()


def draw(output: str, title: str) -> str:
    lines = output.replace("\r\n", "\n").strip("\n").split("\n")
    width = round(2 * MARGIN + COLUMNS * CHARACTER_WIDTH)
    height = 2 * MARGIN + len(lines) * LINE_HEIGHT
    texts = [
        f'<text y="{MARGIN + (number + 1) * LINE_HEIGHT - 6}" xml:space="preserve">{spans(line)}</text>'
        for number, line in enumerate(lines)
        if line
    ]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        *texts,
        "</svg>",
        "",
    ])


def spans(line: str) -> str:
    """The pieces of a line, each of one colour, at their columns."""
    spans, column, name = [], 0, ""
    for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
        if piece.startswith("\x1b"):
            name = CLASSES.get(piece[2:-1], "")
        elif piece:
            attribute = f' class="{name}"' if name else ""
            x = MARGIN + (column + len(piece) - len(piece.lstrip())) * CHARACTER_WIDTH
            if piece.strip():
                spans.append(f'<tspan x="{x:g}"{attribute}>{escape(piece.strip())}</tspan>')
            column += len(piece)
    return "".join(spans)


if __name__ == "__main__":
    sys.exit(main())
