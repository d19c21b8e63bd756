"""Measures the CPU time of Svix's server for an event, with PostgreSQL and Redis beside it, on this machine.

    svix.py SERVER [--events 3000] [--at-once 10] [--runs 3]

SERVER is the program `svix-server`, built from Svix's repository. PostgreSQL and Redis come from the packages `postgresql` and
`redis-server`. All of them listen on loopback, with data in a temporary folder, and end with this program.

An event is a message of about 500 bytes in a request of its own, to one endpoint that acknowledges at once: the payload of
Signpost's benchmark. The CPU time is user and system time of all processes, as the kernel counts it.
"""

import argparse
import asyncio
import glob
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 60
WARM_UP = 300


def payload(length: int) -> dict:
    """Returns a payload as `payload` in src/world.rs makes it."""
    data = {
        "type": "OPERATION", "operationId": str(uuid.uuid4()), "status": "APPROVED", "userId": "user-4711",
        "templateName": "authorize payment", "amount": 1250.5, "currency": "EUR",
        "note": "Invoice 2026/0815, due on receipt", "entries": [],
    }
    entry = {"title": "Transfer to John Smith", "amount": 10.25, "iban": "CZ6508000000192000145399"}
    while len(json.dumps(data, separators=(",", ":"))) < length:
        data["entries"].append({"id": len(data["entries"]) + 1, **entry})
    return data


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def cpu_seconds(root: int) -> float:
    """Returns the CPU time of a process and its descendants so far, also of those that have ended."""
    parents, used = {}, {}
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = Path(stat).read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.split("/")[2])
        parents[pid], used[pid] = int(fields[1]), sum(int(fields[place]) for place in (11, 12, 13, 14))
    family, grows = {root}, True
    while grows:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        family, grows = family | more, bool(more)
    return sum(used.get(pid, 0) for pid in family) / TICKS


class Peer:
    """Svix's server, with what it needs."""

    def __init__(self, server: str, folder: str):
        self.processes, self.folder, self.ports = {}, folder, {name: free_port() for name in ("svix", "postgres", "redis")}
        self.environment = {
            **os.environ,
            "SVIX_DB_DSN": f"postgresql://postgres@127.0.0.1:{self.ports['postgres']}/postgres",
            "SVIX_REDIS_DSN": f"redis://127.0.0.1:{self.ports['redis']}",
            "SVIX_QUEUE_TYPE": "redis",
            "SVIX_CACHE_TYPE": "memory",
            "SVIX_JWT_SECRET": "a secret of the benchmark",
            "SVIX_MAIN_SECRET": "another secret of the benchmark",
            "SVIX_LISTEN_ADDRESS": f"127.0.0.1:{self.ports['svix']}",
            "SVIX_WHITELIST_SUBNETS": "[127.0.0.0/8]",
        }
        self.start_postgres()
        redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.ports["redis"]), "--save", "", "--dir", folder]
        self.start("redis", redis)
        self.wait_for("redis")
        self.start("svix", [server, "--run-migrations"])
        self.wait_for("svix")
        token = subprocess.run(
            [server, "jwt", "generate"], env=self.environment, check=True, capture_output=True, text=True)
        self.token = token.stdout.split()[-1]

    def start(self, name: str, command: list[str]) -> None:
        with open(f"{self.folder}/{name}.log", "w") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)

    def start_postgres(self) -> None:
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not programs or not shutil.which("redis-server"):
            sys.exit("svix.py: PostgreSQL or Redis is missing; install the packages postgresql and redis-server")
        data = f"{self.folder}/data"
        # PostgreSQL refuses to run as root.
        as_user = []
        if os.geteuid() == 0:
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(self.folder, "postgres")
        initdb = [f"{programs[-1]}/initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust"]
        subprocess.run([*as_user, *initdb], check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
        port = str(self.ports["postgres"])
        command = [f"{programs[-1]}/postgres", "-D", data, "-k", self.folder, "-p", port, "-c", "listen_addresses=127.0.0.1"]
        self.start("postgres", [*as_user, *command, "-c", "max_connections=200"])
        self.wait_for("postgres")

    def wait_for(self, name: str) -> None:
        """Waits until a process accepts connections."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.processes[name].poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.ports[name]), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        log = Path(f"{self.folder}/{name}.log").read_text()[-2_000:]
        sys.exit(f"svix.py: {name} does not start; its log ends with\n{log}")

    def ask(self, path: str, body: dict) -> dict:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        url = f"http://127.0.0.1:{self.ports['svix']}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            sys.exit(f"svix.py: POST {path} is answered {error.code}: {error.read().decode()}")

    async def send(self, path: str, count: int, at_once: int) -> None:
        """Sends messages, each in a request of its own, over `at_once` connections that stay open."""
        left = iter(range(count))

        async def sender() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports["svix"])
            for _ in left:
                body = json.dumps({"eventType": "operation", "payload": payload(500)}).encode()
                head = f"POST {path} HTTP/1.1\r\nhost: svix\r\nauthorization: Bearer {self.token}\r\n"
                head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                status, _ = await message_of(reader)
                if " 202 " not in status:
                    sys.exit(f"svix.py: a message is answered {status}")
            writer.close()

        await asyncio.gather(*(sender() for _ in range(at_once)))

    def used(self) -> dict[str, float]:
        return {name: cpu_seconds(process.pid) for name, process in self.processes.items()}

    def end(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
            process.wait(PATIENCE)


async def message_of(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Reads an HTTP message whose body has a length: its first line, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    names = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    return head.split("\r\n")[0], await reader.readexactly(int(names.get("content-length", 0)))


class Receiver:
    """Acknowledges each request at once, and counts them."""

    def __init__(self):
        self.count, self.changed = 0, asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                _, body = await message_of(reader)
                assert body, "a webhook without a body"
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                self.count += 1
                self.changed.set()
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()

    async def wait_for(self, count: int) -> None:
        while self.count < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), PATIENCE)


async def measure(peer: Peer, events: int, at_once: int, runs: int) -> None:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
    app = peer.ask("/api/v1/app/", {"name": "benchmark"})["id"]
    peer.ask(f"/api/v1/app/{app}/endpoint/", {"url": url})
    path, sent, rows = f"/api/v1/app/{app}/msg/", WARM_UP, []
    await peer.send(path, WARM_UP, at_once)
    await receiver.wait_for(sent)
    for run in range(1, runs + 1):
        before, began = peer.used(), time.monotonic()
        await peer.send(path, events, at_once)
        sent += events
        await receiver.wait_for(sent)
        took = time.monotonic() - began
        await asyncio.sleep(1)  # The records of the last attempts belong to them.
        row = {name: 1_000 * (used - before[name]) / events for name, used in peer.used().items()}
        rows.append({**row, "all": sum(row.values())})
        print(f"run {run}: {events / took:.0f} events/s, CPU-ms per event: {told(rows[-1])}", flush=True)
    print(f"median: {told({name: statistics.median(row[name] for row in rows) for name in rows[0]})}")


def told(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {used:.2f}" for name, used in row.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server")
    for name, default in (("--events", 3_000), ("--at-once", 10), ("--runs", 3)):
        parser.add_argument(name, type=int, default=default)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(os.path.abspath(asked.server), folder)
        try:
            asyncio.run(measure(peer, asked.events, asked.at_once, asked.runs))
        finally:
            peer.end()


if __name__ == "__main__":
    main()
