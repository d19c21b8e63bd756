"""Puts the figures of docs/bench.json into the documents that quote them.

    figures.py                   rewrites the figures in the documents
    figures.py --check           writes nothing; ends with 1 if a figure is stale, or says that a bound is met that is not
    figures.py --keep FOLDER     takes the figures of `make bench` from FOLDER into docs/bench.json, and rewrites
    figures.py --compare FOLDER  prints the figures in FOLDER as ratios of those in docs/bench.json

A table follows a line `<!-- bench: NAME -->`. A figure in a sentence is found by the words around it. The calculator is
infra/bench/calculator.html with its data.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cost
from cost import Month

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs/bench.json"
PERFORMANCE = "docs/performance.md"
COST = "docs/cost.md"
CALCULATOR, CALCULATOR_SOURCE = "docs/calculator.html", "infra/bench/calculator.html"

Figures = dict
Rows = list[list[str]]


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--keep", folder]:
            keep(Path(folder))
            write(json.loads(KEPT.read_text()))
        case ["--compare", folder]:
            compare(json.loads(KEPT.read_text()), measured(Path(folder)))
        case ["--check"]:
            return check(json.loads(KEPT.read_text()))
        case []:
            write(json.loads(KEPT.read_text()))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def measured(folder: Path) -> Figures:
    """Reads the files of a run, with figures of four digits."""
    files = [folder / name for name in ("bench.json", "bench-hops.json", "bench-latency.json", "bench-allocations.json", "bench-soak.json")]
    parts = [json.loads(path.read_text()) for path in files if path.exists()]
    return rounded({name: value for part in parts for name, value in part.items()})


def rounded(value: object) -> object:
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: rounded(inner) for name, inner in value.items()}
        case list():
            return [rounded(inner) for inner in value]
    return value


def keep(folder: Path) -> None:
    figures = measured(folder)
    if missing := {"ways", "coldStarts", "dollarsPerMillion", "hops", "latency", "allocations"} - figures.keys():
        sys.exit(f"{folder} has no {', '.join(sorted(missing))}: run the whole of `make bench` first")
    if "soak" not in figures:  # `make bench-soak` is a run of its own.
        figures["soak"] = json.loads(KEPT.read_text())["soak"]
    KEPT.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


# The documents.


def write(figures: Figures) -> None:
    for name, text in documents(figures).items():
        (ROOT / name).write_text(text)


def check(figures: Figures) -> int:
    stale = [name for name, text in documents(figures).items() if not (ROOT / name).exists() or text != (ROOT / name).read_text()]
    for name in stale:
        print(f"{name} has figures that are not those of docs/bench.json: run `python3 infra/bench/figures.py`", file=sys.stderr)
    wrong = list(wrong_verdicts(figures))
    for row in wrong:
        print(f"{PERFORMANCE}: {row}", file=sys.stderr)
    return 1 if stale or wrong else 0


def documents(figures: Figures) -> dict[str, str]:
    """Returns the documents as they should be, by their names."""
    texts = {name: (ROOT / name).read_text() for name in {PERFORMANCE, COST, *(name for name, *_ in SENTENCES)}}
    for document, tables in ((PERFORMANCE, TABLES), (COST, COST_TABLES)):
        for name, make in tables.items():
            texts[document] = with_table(document, texts[document], name, make(figures))
    for document, words, make in SENTENCES:
        texts[document] = with_sentence(document, texts[document], words, make(figures))
    for row, target in TARGETS.items():
        texts[PERFORMANCE] = with_sentence(PERFORMANCE, texts[PERFORMANCE], f"| {row} | ANY | FIGURE |", [target(figures)[0]])
    texts[CALCULATOR] = (ROOT / CALCULATOR_SOURCE).read_text().replace("DATA = null;", f"DATA = {json.dumps(cost.data(figures))};")
    return texts


def with_table(document: str, text: str, name: str, rows: Rows) -> str:
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *("| " + " | ".join(row) + " |" for row in body)]
    table = "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)
    changed, count = re.subn(rf"(<!-- bench: {name} -->\n)(?:\|.*\n)*", lambda found: found[1] + table + "\n", text)
    if count != 1:
        sys.exit(f"{document} has the line `<!-- bench: {name} -->` {count} times, not once")
    return changed


def with_sentence(document: str, text: str, words: str, values: list[str]) -> str:
    """Replaces each FIGURE in `words`, which may be broken at any space. ANY is any text of a column."""
    parts = [re.escape(part).replace(r"\ ", r"\s+").replace("ANY", "[^|]*?") for part in words.split("FIGURE")]
    pattern = "".join(f"({part})(?:[^|\\s]+(?: to [^|\\s]+)?)" for part in parts[:-1]) + f"({parts[-1]})"
    found = list(re.finditer(pattern, text))
    if len(found) != 1:
        sys.exit(f"{document} says `{words}` {len(found)} times, not once")
    groups = found[0].groups()
    whole = "".join(group + value for group, value in zip(groups, [*values, ""], strict=True))
    return text[: found[0].start()] + whole + text[found[0].end() :]


def wrong_verdicts(figures: Figures) -> Iterator[str]:
    lines = (ROOT / PERFORMANCE).read_text().splitlines()
    for row, target in TARGETS.items():
        _, is_met = target(figures)
        line = next(line for line in lines if line.startswith(f"| {row} |"))
        verdict = line.strip("| ").split("|")[-1].strip()
        if verdict.startswith("met") != is_met:
            yield f"`{row}` is {'met' if is_met else 'missed'}, but its last column says `{verdict[:40]}`"


# The figures.


def way(figures: Figures, signature: str, payload: int, batch: int) -> dict:
    return next(
        one for one in figures["ways"] if (one["signature"], one["payloadBytes"], one["batch"]) == (signature, payload, batch)
    )


def cpu(one: dict) -> float:
    return sum(one[function]["cpuMs"] for function in ("ingest", "fanout", "deliver"))


def over_floor(one: dict) -> float:
    return one["deliver"]["cpuMs"] - one["signingMs"] - one["postMs"]


def dollars(figures: Figures, beginning: str) -> dict:
    return next(one for one in figures["dollarsPerMillion"] if one["way"].startswith(beginning))


SERVICES = ("apiGateway", "lambda", "sqs", "dynamodb", "kms", "logs")


def total(one: dict) -> float:
    return sum(one[service] for service in SERVICES)


def latency(figures: Figures, case: str) -> dict:
    return next(one for one in figures["latency"] if one["case"] == case)


def cold(figures: Figures, function: str) -> dict:
    return next(one for one in figures["coldStarts"] if one["function"] == function)


def span(figures: Figures, name: str, digits: int) -> str:
    values = [one[name] for one in figures["coldStarts"]]
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def milliseconds(value: float) -> str:
    return f"{value:.0f} ms" if value < 1_000 else f"{value / 1_000:.1f} s"


# The tables.


def dollars_table(figures: Figures) -> Rows:
    head = ["", "API Gateway", "Lambda", "SQS", "DynamoDB", "KMS", "logs", "all"]
    return [
        head,
        *(
            [one["way"], *(f"{one[service]:.2f}" if one[service] >= 0.005 else "" for service in SERVICES), f"{total(one):.2f}"]
            for one in figures["dollarsPerMillion"]
        ),
    ]


def latency_table(figures: Figures) -> Rows:
    cases = [one for one in figures["latency"] if one["case"].endswith("events/s")]
    return [
        ["", "p50", "p95", "p99"],
        *([one["case"], *(milliseconds(one[name]) for name in ("p50", "p95", "p99"))] for one in cases),
    ]


def hops_table(figures: Figures) -> Rows:
    rows = [[one["name"], f"{one['p50']:.1f} ms", "Signpost" if one["isOwn"] else "AWS, here the emulator"] for one in figures["hops"]]
    return [["hop", "p50", "whose"], *rows]


def own_latency(figures: Figures) -> float:
    return sum(one["p50"] for one in figures["hops"] if one["isOwn"])


def soak_table(figures: Figures) -> Rows:
    minutes = figures["soak"]["minutes"]
    shown = [one for one in minutes if one["number"] == 1 or one["number"] % 5 == 0 or one is minutes[-1]]
    head = ["minute", "sent", "p50", "p99", "sent twice so far", "processes", "`deliver`, at most", "sockets"]
    rows = [
        [f"{one['number']:.0f}", f"{one['sent']:,.0f}", milliseconds(one["p50"]), milliseconds(one["p99"])]
        + [f"{one['duplicates']:.0f}", f"{one['processes']:.0f}", f"{one['deliverMb']:.1f} MB", f"{one['sockets']:.0f}"]
        for one in shown
    ]
    return [head, *rows]


def neighbours_table(figures: Figures) -> Rows:
    cases = [one for one in figures["latency"] if one["case"].startswith("beside one that ")]
    healthy = cases[0]["p99"]
    rows = [["beside one that", "p50", "p95", "p99", "longest", "p99, of a healthy one's"]]
    for one in cases:
        ratio = one["p99"] / healthy
        shown = f"× {ratio:.1f}" if ratio < 10 else f"× {ratio:.0f}"
        times = [milliseconds(one[name]) for name in ("p50", "p95", "p99", "max")]
        rows.append([one["case"].removeprefix("beside one that "), *times, shown if ratio <= 1.2 else f"**{shown}**"])
    return rows


SIGNATURES = {
    "hmac-ed25519": "HMAC and Ed25519",
    "ed25519": "Ed25519",
    "es256": "ES256",
    "rs256": "RS256",
    "rs256-hmac-ed25519": "RS256, HMAC and Ed25519",
}


def ways_table(figures: Figures) -> Rows:
    rows = [["", "payload", "batch", "ingest", "fanout", "deliver", "all", "signing", "POST", "over", "MB"]]
    shown = [("hmac-ed25519", 500, 1), *((name, 500, 10) for name in SIGNATURES), ("hmac-ed25519", 50_000, 10)]
    for name, payload, batch in shown:
        one = way(figures, name, payload, batch)
        values = [one[function]["cpuMs"] for function in ("ingest", "fanout", "deliver")]
        values += [cpu(one), one["signingMs"], one["postMs"], over_floor(one)]
        size = f"{payload} B" if payload < 1_000 else f"{payload // 1_000} KB"
        memory = f"{one['deliver']['peakRssMb']:.1f}"
        rows.append([SIGNATURES[name], size, str(batch), *(f"{value:.3f}" for value in values), memory])
    return rows


def cold_table(figures: Figures) -> Rows:
    return [
        ["", "to the first question for work", "longest", "to the first work done", "longest", "CPU", "zipped"],
        *(
            [
                f"`{one['function']}`",
                *(f"{one[name]:.1f} ms" for name in ("firstNextMedian", "firstNextMax", "firstDoneMedian", "firstDoneMax", "cpuMean")),
                f"{one['zippedMb']:.2f} MB",
            ]
            for one in figures["coldStarts"]
        ),
    ]


def calls_table(figures: Figures) -> Rows:
    rows = [["", "calls", "items", "units"]]
    one = way(figures, "hmac-ed25519", 500, 10)
    for function in ("ingest", "fanout", "deliver"):
        measured = one[function]
        for operation, count in measured["counts"].items():
            per_event = [count[name] / measured["events"] for name in ("calls", "items", "units")]
            rows.append([f"`{function}`: {operation}", *(f"{value:.2f}" for value in per_event)])
    return rows


def allocations_table(figures: Figures) -> Rows:
    parts, sizes = ({one[name]: None for one in figures["allocations"]} for name in ("part", "payloadBytes"))
    rows = [["", *(f"{kind}, {size // 1_000} KB" for size in sizes for kind in ("allocations", "bytes"))]]
    for part in parts:
        counts = {one["payloadBytes"]: one for one in figures["allocations"] if one["part"] == part}
        rows.append([part, *(f"{counts[size][kind]:,}" for size in sizes for kind in ("allocations", "bytes"))])
    return rows


def machine_table(figures: Figures) -> Rows:
    return [["the machine", figures["machine"]]]


TABLES: dict[str, Callable[[Figures], Rows]] = {
    "machine": machine_table,
    "dollars": dollars_table,
    "latency": latency_table,
    "hops": hops_table,
    "soak": soak_table,
    "neighbours": neighbours_table,
    "ways": ways_table,
    "cold starts": cold_table,
    "calls": calls_table,
    "allocations": allocations_table,
}


# The tables of docs/cost.md.


def idle_table(figures: Figures) -> Rows:
    lines = [(name, dollars) for name, dollars in cost.bill(figures, Month(0)).items() if dollars > 0]
    return [["idle", "$"], *([name, f"{dollars:.2f}"] for name, dollars in lines), ["all", f"{cost.total(figures, Month(0)):.2f}"]]


def million_table(figures: Figures) -> Rows:
    idle = cost.bill(figures, Month(0))
    cheap, dear = (cost.bill(figures, month) for month in (Month(1), cost.dearest(1)))
    rows = [[name, f"{cheap[name] - idle[name]:.2f}", f"{dear[name] - idle[name]:.2f}"] for name in idle if dear[name] > idle[name]]
    all_of = [f"{sum(one.values()) - sum(idle.values()):.2f}" for one in (cheap, dear)]
    return [["a million deliveries of 1 KB", "by SQS, batches of ten", "by HTTP, one by one"], *rows, ["all", *all_of]]


def months_table(figures: Figures) -> Rows:
    rows = [["deliveries a month", "Signpost, at least", "at most", *cost.peers(1)]]
    for millions in (0.1, 1, 10, 100):
        own = [cost.total(figures, month) for month in (Month(millions), cost.dearest(millions))]
        name = f"{millions} million" if millions >= 1 else f"{millions * 1_000_000:,.0f}"
        rows.append([name, *(f"{dollars:,.2f}" for dollars in [*own, *cost.peers(millions).values()])])
    return rows


def choices_table(figures: Figures) -> Rows:
    usual = cost.total(figures, Month(1))
    choices = {
        "events of 10 KB": Month(1, payload_kb=10),
        "events of 100 KB": Month(1, payload_kb=100),
        "`RetentionDays=365`": Month(1, retention_days=365),
        "no point-in-time recovery": Month(1, has_recovery=False),
        "batches of one": Month(1, is_quiet=True),
        "a million deliveries that are given up after the eight attempts of the default, beside a million that arrive": Month(1, given_up_percent=100),
        "`Alarms=false`": Month(1, has_alarms=False),
        "`Dashboard=false`": Month(1, has_dashboard=False),
    }
    return [["a million a month, and", "$ more"], *([name, f"{cost.total(figures, one) - usual:+.2f}"] for name, one in choices.items())]


COST_TABLES: dict[str, Callable[[Figures], Rows]] = {
    "idle": idle_table,
    "a million": million_table,
    "months": months_table,
    "choices": choices_table,
}


# The sentences.


def costs(figures: Figures, *beginnings: str) -> list[str]:
    return [f"{total(dollars(figures, beginning)):.2f}" for beginning in beginnings]


BY_SQS, BY_HTTP, BY_BATCH = "events by SQS", "events by HTTP, one", "events by HTTP, 100"
AT_20 = "20 events/s"


def quick(figures: Figures) -> list[str]:
    one = latency(figures, AT_20)
    return [f"{one['p50']:.0f}", f"{one['p99']:.0f}"]


SENTENCES: list[tuple[str, str, Callable[[Figures], list[str]]]] = [
    ("README.md", "$FIGURE by SQS, $FIGURE by HTTP with one event per request", lambda all: costs(all, BY_SQS, BY_HTTP)),
    (
        "docs/deploying.md",
        "About $FIGURE while nothing happens, and from $FIGURE for a million deliveries",
        lambda all: [f"{cost.total(all, Month(0)):.0f}", f"{cost.total(all, Month(1)) - cost.total(all, Month(0)):.2f}"],
    ),
    ("README.md", "[$FIGURE, with all alarms and the dashboard]", lambda all: [f"{cost.total(all, Month(0)):.0f}"]),
    ("README.md", "FIGURE ms at the median, FIGURE ms at the 99th percentile", quick),
    (PERFORMANCE, "$FIGURE if producers send to SQS", lambda all: costs(all, BY_SQS)),
    (
        PERFORMANCE,
        "By HTTP it is $FIGURE with 100 events per request, and $FIGURE with one",
        lambda all: costs(all, BY_BATCH, BY_HTTP),
    ),
    (PERFORMANCE, "FIGURE ms at the median, FIGURE ms at the 99th percentile", quick),
    (PERFORMANCE, "FIGURE ms to the first question for work", lambda all: [span(all, "firstNextMedian", 1)]),
    (PERFORMANCE, "FIGURE ms to the first delivery", lambda all: [f"{cold(all, 'deliver')['firstDoneMedian']:.1f}"]),
    (
        PERFORMANCE,
        "`deliver` uses FIGURE MB with batches of ten",
        lambda all: [f"{way(all, 'hmac-ed25519', 50_000, 10)['deliver']['peakRssMb']:.1f}"],
    ),
]


# The targets: the first column of their row, the figure, and whether it meets the target.


def bound(figure: Callable[[Figures], float], most: float, digits: int = 3) -> Callable[[Figures], tuple[str, bool]]:
    return lambda figures: (f"{figure(figures):.{digits}f}", figure(figures) <= most)


TARGETS: dict[str, Callable[[Figures], tuple[str, bool]]] = {
    "the whole path, batches of ten, HMAC and Ed25519: ≤ 0.20 CPU-ms per event": bound(
        lambda all: cpu(way(all, "hmac-ed25519", 500, 10)), 0.20
    ),
    "the same in batches of one: ≤ 1.2": bound(lambda all: cpu(way(all, "hmac-ed25519", 500, 1)), 1.2),
    "batches of ten with RS256: ≤ 0.75": bound(lambda all: cpu(way(all, "rs256", 500, 10)), 0.75),
    "`deliver` over its signature and one POST, batches of ten with ES256: ≤ 0.10 CPU-ms": bound(
        lambda all: over_floor(way(all, "es256", 500, 10)), 0.10
    ),
    "cold start to the first question for work, median of the slowest function: ≤ 10 ms": bound(
        lambda all: max(one["firstNextMedian"] for one in all["coldStarts"]), 10, 1
    ),
    "latency that is Signpost's own, from the queue to the receiver, median: ≤ 15 ms": bound(own_latency, 15, 1),
    "cold start to the first delivery done, median: ≤ 10 ms": bound(lambda all: cold(all, "deliver")["firstDoneMedian"], 10, 1),
    "zipped size of the largest function: ≤ 3.5 MB": bound(
        lambda all: max(one["zippedMb"] for one in all["coldStarts"]), 3.5, 2
    ),
    "peak memory of `deliver`, batches of ten, 50 KB: ≤ 40 MB": bound(
        lambda all: way(all, "hmac-ed25519", 50_000, 10)["deliver"]["peakRssMb"], 40, 1
    ),
    "a million deliveries of 1 KB by SQS: ≤ $2.40": bound(lambda all: total(dollars(all, BY_SQS)), 2.40, 2),
}


# The comparison of two runs.


def compare(old: Figures, new: Figures) -> None:
    if old["machine"] != new.get("machine"):
        print(f"docs/bench.json is of another machine ({old['machine']}): nothing to compare with.")
        return
    print(f"{'':64}{'kept':>10}{'now':>10}{'ratio':>8}")
    kept = dict(numbers(old))
    for name, value in numbers(new):
        if name in kept and kept[name] > 0:
            print(f"{name:64}{kept[name]:10.3f}{value:10.3f}{value / kept[name]:8.2f}")


def numbers(figures: Figures) -> Iterator[tuple[str, float]]:
    for one in figures.get("ways", []):
        yield f"CPU-ms, {one['signature']}, {one['payloadBytes']} B, batches of {one['batch']}", cpu(one)
    for one in figures.get("coldStarts", []):
        yield f"cold start of {one['function']} to its first work done, ms", one["firstDoneMedian"]
        yield f"zipped {one['function']}, MB", one["zippedMb"]
    for one in figures.get("dollarsPerMillion", []):
        yield f"dollars per million, {one['way']}", total(one)
    for one in figures.get("allocations", []):
        yield f"allocations, {one['part']}, {one['payloadBytes']} B", one["allocations"]
    for one in figures.get("hops", []):
        yield f"p50 {one['name'][:58]}, ms", one["p50"]
    for one in figures.get("latency", []):
        yield f"p50 {one['case']}, ms", one["p50"]
        yield f"p99 {one['case']}, ms", one["p99"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
