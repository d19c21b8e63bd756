"""Proves that the tests of the delivery engine notice defects: puts in one defect after another, and expects a failure.

mutants.toml lists the defects of `lib/engine/src`, and some of the rules in `lib/core`. Each is put into a copy of the
sources under target/mutants, never into the checkout, and runs through the unit tests and the simulation of
`signpost-engine`. A defect is caught if a test fails, or does not end. Exits with 1 if the unchanged code fails, if fewer
than 95 % of the defects are caught, or if survivors.md does not explain a defect that no test notices.

    python infra/mutants/mutants.py [--list] [--work folder] [name or a part of it ...]
"""

import argparse
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.toml")
SURVIVORS = Path(__file__).with_name("survivors.md")
# What cargo must find to build one crate of the workspace.
COPIED = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo", "lib", "functions", "infra/bench"]

# As many as `make test` runs. The simulation ends with the first that fails.
SCHEDULES = 300
# The level that takes the least time: 2 s of one core for a build, and 5 for most defects until they are caught; all tests
# take 22. Level 1: 11 s for a build, and 6 for all tests; level 3: 15 and 5. Dependencies are built as for `make soak`.
PROFILE = ["--profile", "soak", "--config", "profile.soak.package.signpost-engine.opt-level=0"]
# The tests of the simulation that notice the most come first. `isolation` tests the simulation itself, and `no_neighbour`
# measures delays for minutes: every defect on the list that it could notice, a case notices sooner.
SKIPPED = ["no_failure", "cases", "isolation", "no_neighbour"]
PARTS = [["cases"], ["no_failure"], [part for name in SKIPPED for part in ("--skip", name)]]
BUILD_JOBS = 2
# A defect that makes a test hang is caught. The unchanged code may take a third of this.
PATIENCE = 3
LEAST_LIMIT_SECONDS = 60
# A defect that makes a world grow without end must not use up the machine.
MEMORY_BYTES = 4 << 30
SHARE = 0.95


@dataclass
class Mutant:
    name: str
    file: str
    find: str
    replace: str


@dataclass
class Outcome:
    """The first test that failed, with its reason; `None` if all passed."""

    failed: str | None
    seconds: float


class UnfitError(Exception):
    """A defect that cannot be tried: its text is not in the file once, or the code does not compile with it."""


def main() -> int:
    arguments = parser().parse_args()
    mutants = chosen(arguments.names)
    workshop = Workshop(arguments.work.resolve())
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.file}: {mutant.name}")
        return 0
    workshop.lock()
    workshop.copy_sources()
    limit = workshop.check_unchanged()
    print(f"· The unchanged code passes. {len(mutants)} defects, each for at most {limit:.0f} s", flush=True)
    survivors, unfit = try_all(workshop, mutants, limit)
    return verdict(len(mutants), survivors, unfit)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("names", nargs="*", help="try only the defects whose name or file contains one of these texts")
    found.add_argument("--work", type=Path, default=ROOT / "target/mutants", help="folder of the copy and of its builds")
    found.add_argument("--list", action="store_true", help="print the defects, and try none")
    return found


def chosen(names: list[str]) -> list[Mutant]:
    mutants = [Mutant(**one) for one in tomllib.loads(LIST.read_text())["mutant"]]
    repeated = {one.name for one in mutants if sum(other.name == one.name for other in mutants) > 1}
    if repeated:
        sys.exit(f"{LIST.name}: names {sorted(repeated)} are used twice; choose another")
    found = [one for one in mutants if not names or any(name in f"{one.file}: {one.name}" for name in names)]
    if not found:
        sys.exit(f"no defect matches {names}; --list prints all")
    return found


def try_all(workshop: "Workshop", mutants: list[Mutant], limit: float) -> tuple[list[str], list[str]]:
    """Returns the names of the defects that no test noticed, and of those that could not be tried."""
    survivors, unfit = [], []
    width = len(str(len(mutants)))
    for number, mutant in enumerate(mutants, 1):
        began = time.monotonic()
        try:
            outcome = workshop.attempt(mutant, limit)
        except UnfitError as error:
            unfit.append(mutant.name)
            result = f"UNFIT: {error}"
        else:
            result = f"caught by {outcome.failed}" if outcome.failed else "SURVIVED"
            if not outcome.failed:
                survivors.append(mutant.name)
        seconds = time.monotonic() - began
        print(f"{number:>{width}}/{len(mutants)} {seconds:>4.0f} s  {mutant.name}: {result}", flush=True)
    return survivors, unfit


class Workshop:
    """The copy of the sources, and its builds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = folder / "sources"

    def lock(self) -> None:
        """Keeps others away until this program ends: two in one folder would test each other's defects."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.held = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another run uses {self.folder}; wait for its end, or choose another folder by --work")

    def copy_sources(self) -> None:
        """Brings the copy up to date. A file that has not changed keeps its time, so that cargo does not compile it."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *COPIED],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        names = {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}
        for name in names:
            self.put(name, (ROOT / name).read_bytes())
        for copied in [path for path in self.sources.rglob("*") if path.is_file()]:
            if str(copied.relative_to(self.sources)) not in names:
                copied.unlink()

    def put(self, name: str, content: bytes) -> None:
        target = self.sources / name
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def check_unchanged(self) -> float:
        """Returns how long a defect may take."""
        outcome = self.outcome_of(self.build(), None)
        if outcome.failed:
            sys.exit(f"the unchanged code fails: {outcome.failed}; `cargo test -p signpost-engine` must pass first")
        return max(LEAST_LIMIT_SECONDS, PATIENCE * outcome.seconds)

    def attempt(self, mutant: Mutant, limit: float) -> Outcome:
        original = (ROOT / mutant.file).read_text()
        found = original.count(mutant.find)
        if found != 1:
            raise UnfitError(f"its text is in {mutant.file} {found} times; expected once")
        try:
            self.put(mutant.file, original.replace(mutant.find, mutant.replace).encode())
            return self.outcome_of(self.build(), limit)
        finally:
            self.put(mutant.file, original.encode())

    def build(self) -> list[list[str]]:
        """Compiles the tests. Returns the commands that run them, the quickest first."""
        command = [
            "cargo", "test", "--offline", "--package", "signpost-engine", "--lib", "--tests", "--no-run", *PROFILE,
            "--jobs", str(BUILD_JOBS), "--target-dir", str(self.folder / "build"),
            "--message-format", "json-render-diagnostics",
        ]  # fmt: skip
        built = subprocess.run(command, cwd=self.sources, check=False, capture_output=True, text=True)
        if built.returncode != 0:
            errors = [line for line in built.stderr.splitlines() if line.startswith("error")]
            raise UnfitError("; ".join(errors) or built.stderr)
        messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
        programs = [one["executable"] for one in messages if one.get("executable")]
        simulation = [one for one in programs if Path(one).name.startswith("simulation-")]
        others = [[one] for one in programs if one not in simulation]
        return [*others, *([one, *part] for part in PARTS for one in simulation)]

    def outcome_of(self, commands: list[list[str]], limit: float | None) -> Outcome:
        began = time.monotonic()
        for command in commands:
            left = None if limit is None else max(1.0, limit - (time.monotonic() - began))
            failed = self.first_failure(command, left)
            if failed:
                return Outcome(failed, time.monotonic() - began)
        return Outcome(None, time.monotonic() - began)

    def first_failure(self, command: list[str], seconds: float | None) -> str | None:
        """Runs a test program until it ends, or until its first test fails."""
        environment = {**os.environ, "RUST_BACKTRACE": "0", "SIGNPOST_SCHEDULES": str(SCHEDULES)}
        errors = (self.folder / "errors").open("w+")
        running = subprocess.Popen(
            [*command, "--nocapture"], cwd=self.sources / "lib/engine", env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        resource.prlimit(running.pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        is_late = threading.Event()

        def end_late() -> None:
            is_late.set()
            end(running)

        timer = threading.Timer(seconds, end_late) if seconds else None
        if timer:
            timer.start()
        failed = None
        for line in running.stdout:
            if found := re.search(r"test (\S+) \.\.\. FAILED", line):
                failed = found.group(1)
                break
        if timer:
            timer.cancel()
        end(running)
        status = running.wait()
        if failed:
            errors.seek(0)
            return f"{failed.rsplit('::', 1)[-1]}: {reason_in(errors.read())}"
        program = Path(command[0]).name.rsplit("-", 1)[0]
        if is_late.is_set():
            return f"the time limit of {program}"
        return None if status == 0 else f"{program}, which ended with {status}"


def reason_in(errors: str) -> str:
    """Returns the first message of a panic."""
    found = re.search(r"panicked at (\S+?):\d+:\d+:\n(.*)", errors)
    return f"{Path(found.group(1)).name}: {found.group(2)}" if found else "no message"


def end(running: subprocess.Popen) -> None:
    if running.poll() is None:
        # The process leads its own group: nothing else is in it.
        try:
            os.killpg(running.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def verdict(count: int, survivors: list[str], unfit: list[str]) -> int:
    caught = count - len(survivors) - len(unfit)
    explained = SURVIVORS.read_text() if SURVIVORS.exists() else ""
    unexplained = [name for name in survivors if f"## {name}\n" not in explained]
    print(f"\n{caught} of {count} defects are caught, {100 * caught / count:.0f} %")
    for name in unfit:
        print(f"cannot be tried: {name}; correct it in {LIST.name}", file=sys.stderr)
    for name in unexplained:
        print(f"no test notices: {name}; add a test, or explain it in {SURVIVORS.name}", file=sys.stderr)
    return 1 if unfit or unexplained or caught < SHARE * count else 0


if __name__ == "__main__":
    if not shutil.which("cargo"):
        sys.exit("cargo is not in PATH; install the toolchain of rust-toolchain.toml")
    sys.exit(main())
