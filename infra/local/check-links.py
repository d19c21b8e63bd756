"""Checks each link of the documents: its file must exist, and its anchor must be a heading of that file.

    check-links.py

Reads *.md, docs and docs/adr. Makes anchors of headings as GitHub does. Links to other sites are not followed. Prints each
broken link with its line, and exits with 1 if there is one.
"""

import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
INLINE = re.compile(r"\]\(\s*<?([^)\s>]+)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]^]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
HTML_ANCHOR = re.compile(r"<a\s[^>]*(?:id|name)=\"([^\"]+)\"")


def main() -> int:
    broken = [fault for document in DOCUMENTS for fault in faults(document)]
    for fault in broken:
        print(fault, file=sys.stderr)
    return 1 if broken else 0


def faults(document: Path):
    """Yields a text for each broken link."""
    text = without_code(document.read_text())
    for pattern in (INLINE, REFERENCE):
        for found in pattern.finditer(text):
            fault = fault_of(document, found[1])
            if fault:
                yield f"{document.relative_to(ROOT)}:{text.count(chr(10), 0, found.start(1)) + 1}: {fault}"


def fault_of(document: Path, link: str) -> str | None:
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return None
    path, _, anchor = link.partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.exists():
        return f"found a link to `{path}`, which does not exist; correct the path"
    if anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
        return f"found the anchor `#{anchor}`, but {target.name} has no such heading; correct the link, or the heading"
    return None


def anchors(text: str) -> set[str]:
    """Returns the anchors of a document's headings. GitHub numbers those that repeat."""
    seen, found = Counter(), set(HTML_ANCHOR.findall(text))
    for heading in HEADING.findall(FENCE.sub(blanked, text)):
        anchor = slug(heading)
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def slug(heading: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def without_code(text: str) -> str:
    """Returns the text with code as blanks, so that lines keep their numbers."""
    return CODE.sub(blanked, FENCE.sub(blanked, text))


def blanked(found: re.Match) -> str:
    return re.sub(r"[^\n]", " ", found.group())


if __name__ == "__main__":
    sys.exit(main())
