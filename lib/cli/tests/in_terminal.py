"""Runs a program in a terminal of its own, types a text when a word appears, and prints what the terminal shows.

    in_terminal.py WORD TEXT PROGRAM ARGUMENT…

`\\x03` in TEXT is Ctrl-C. If WORD is `Secret`, waits until the program has turned the echo off. Exits as the program does, or
with 124 if it does not end in time.
"""

import os
import pty
import select
import signal
import sys
import termios
import time

SECONDS = 60


def main(word: str, text: str, *command: str) -> int:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    shown, is_typed, end = b"", False, time.monotonic() + SECONDS
    while True:
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            os.kill(pid, signal.SIGKILL)
            sys.stdout.buffer.write(shown)
            return 124
        try:
            more = os.read(terminal, 65536)
        except OSError:  # Linux says so when the program has ended.
            break
        if not more:
            break
        shown += more
        if not is_typed and word.encode() in shown:
            while word == "Secret" and termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < end:
                time.sleep(0.01)
            os.write(terminal, text.encode().decode("unicode_escape").encode())
            is_typed = True
    sys.stdout.buffer.write(shown)
    # The terminal ends before the program: its last steps have a limit as well.
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(SECONDS)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
