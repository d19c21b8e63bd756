"""Finds the forms that docs/STYLE.md rules out, in documents, code comments, messages and scripts.

    check-words.py [PATH …]     prints file:line, the form and the plain words, for all files or those named; ends with 1
                                if there is one
    check-words.py --count      prints how often each form stands where, and in total; ends with 0

The forms are in banned-words.txt, beside this program, with the places where one may stand. A form that is broken over two
lines of a comment or a paragraph is found too. Targets of Markdown links are not read, because a file's name may be old.
"""

import argparse
import re
import subprocess
import sys
from bisect import bisect_right
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("banned-words.txt")
FILES = ("*.md", "*.rs", "*.yaml", "*.yml", "*.py", "*.sh", "*.toml", "Makefile")
# What continues a sentence on the next line, beside the indentation: the marks of a comment or a quotation.
CONTINUED = re.compile(r"[ \t]*\n[ \t]*(?:///|//!|//|#|>|\|)?[ \t]*")
LINK_TARGET = re.compile(r"(?<=\]\()[^)\n]*")


class Form(NamedTuple):
    text: str
    pattern: re.Pattern
    plain: str


class Hit(NamedTuple):
    path: str
    line: int
    found: str
    form: Form


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", action="store_true", help="print hits per form and file, and the total")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files to read, relative to the repository")
    arguments = parser.parse_args()
    forms, exceptions = read_list()
    paths = arguments.paths or listed()
    hits = [hit for path in paths for hit in search(path, forms) if not is_excepted(hit, exceptions)]
    if arguments.count:
        count(hits, forms)
        return 0
    for hit in hits:
        print(f"{hit.path}:{hit.line}: {hit.found!r}; instead: {hit.form.plain}", file=sys.stderr)
    if hits:
        print(f"{len(hits)} forms that docs/STYLE.md rules out; change the words, or see {LIST.name}", file=sys.stderr)
    return 1 if hits else 0


def read_list() -> tuple[list[Form], list[tuple[str, str]]]:
    forms, exceptions, in_exceptions = [], [], False
    for number, line in enumerate(LIST.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if line == "[exceptions]":
            in_exceptions = True
        elif in_exceptions:
            path, _, rest = line.partition(": ")
            exceptions.append((path, re.split(r"\s+#", rest)[0].strip()))
        else:
            text, arrow, plain = line.partition(" -> ")
            if not arrow:
                sys.exit(f"{LIST.name}:{number}: found {line!r}; expected a form, ' -> ' and the plain words")
            forms.append(Form(text, re.compile(text, re.MULTILINE), plain))
    unknown = {form for _, form in exceptions} - {form.text for form in forms} - {"*"}
    if unknown:
        sys.exit(f"{LIST.name}: exceptions name forms that are not listed: {', '.join(sorted(unknown))}")
    return forms, exceptions


def listed() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *FILES]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in sorted(listing.splitlines()) if (ROOT / path).is_file()]


def search(path: str, forms: list[Form]):
    """The hits in a file, in the order of its lines."""
    text = (ROOT / path).read_text()
    if path.endswith(".md"):
        text = LINK_TARGET.sub(lambda target: " " * len(target.group()), text)
    hits = {}
    for form in forms:
        for found in form.pattern.finditer(text):
            hits[found.start(), form.text] = Hit(path, line_of(text, found.start()), words(found.group()), form)
    joined, origins = join(text)
    for form in forms:
        for found in form.pattern.finditer(joined):
            start = origins(found.start())
            hits.setdefault((start, form.text), Hit(path, line_of(text, start), words(found.group()), form))
    return [hits[key] for key in sorted(hits)]


def join(text: str):
    """The text with its paragraphs and comments on one line each, and what leads from a place in it to that in `text`."""
    pieces, starts, end = [], [], 0
    length = 0
    for gap in CONTINUED.finditer(text):
        is_paragraph = gap.group().count("\n") == 1 and text[gap.end() : gap.end() + 1] not in ("\n", "", "-", "*")
        piece = text[end : gap.start()] + (" " if is_paragraph else "\n")
        pieces.append(piece)
        starts.append((length, end))
        length += len(piece)
        end = gap.end()
    pieces.append(text[end:])
    starts.append((length, end))

    def origin(place: int) -> int:
        at, original = starts[bisect_right(starts, (place, sys.maxsize)) - 1]
        return original + place - at

    return "".join(pieces), origin


def line_of(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def words(found: str) -> str:
    return " ".join(found.split())


def is_excepted(hit: Hit, exceptions: list[tuple[str, str]]) -> bool:
    return any(fnmatch(hit.path, path) and form in ("*", hit.form.text) for path, form in exceptions)


def count(hits: list[Hit], forms: list[Form]) -> None:
    per_form = Counter(hit.form.text for hit in hits)
    for form in sorted(forms, key=lambda form: -per_form[form.text]):
        print(f"{per_form[form.text]:5} {form.text}")
    print()
    for path, number in Counter(hit.path for hit in hits).most_common(20):
        print(f"{number:5} {path}")
    print(f"\n{len(hits)} in total, in {len({hit.path for hit in hits})} files")


if __name__ == "__main__":
    sys.exit(main())
