"""Several programs run as one: one log, one Ctrl-C, and who dies is started again.

Ours, because the kept process managers lack one half each: honcho prefixes one log but ends everything as soon as one
program dies, supervisord restarts but writes a log per program and wants a configuration file and a daemon.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

COLOURS = (36, 32, 35, 33, 34, 96, 92, 95)
STOP_S = 8.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 15.0
# A program that lived this long was healthy: its next death is a first one again.
HEALTHY_S = 20.0
# This many deaths in a row without a healthy life in between, and a start is given up.
MAX_DEATHS_AT_START = 4
LAST_LINES = 12
ROUND_S = 0.1


class StartFailed(Exception):
    """Something did not come up; the message says what, and what it last said."""


class Stopped(Exception):
    """Somebody asked for the end while it was still starting."""


class Log:
    """One line at a time on standard output, with the name of who says it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colours: dict[str, int] = {}
        self._is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def say(self, name: str, line: str) -> None:
        with self._lock:
            prefix = f"{name:<9} |"
            if self._is_coloured:
                colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
                prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
            self._write(f"{prefix} {line}\n")

    def show(self, text: str) -> None:
        with self._lock:
            self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        # Whoever reads the log may be gone; the programs need their pipes emptied all the same.
        with contextlib.suppress(OSError):
            sys.stdout.write(text)
            sys.stdout.flush()


@dataclass(frozen=True)
class Program:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    # Ended after all others, because they need it until their end.
    is_last_to_stop: bool = False
    # What it says is shown only when it fails.
    is_quiet: bool = False


class Child:
    """One life after another of one program."""

    def __init__(self, program: Program, log: Log) -> None:
        self.program = program
        self.deaths = 0
        self.restart_at: float | None = None
        self._log = log
        self._start()

    def _start(self) -> None:
        self.restart_at = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "devserver.child", *self.program.command],
            cwd=self.program.directory,
            env=dict(self.program.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own: the terminal's Ctrl-C reaches us alone, and we reach all that it started.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        for raw in process.stdout or ():
            line = raw.decode(errors="replace").rstrip()
            self.last_lines.append(line)
            if not self.program.is_quiet:
                self._log.say(self.program.name, line)

    def look_after(self) -> None:
        """Start it again if it died and its pause is over."""
        if self.restart_at is not None:
            if time.monotonic() >= self.restart_at:
                self._start()
        elif self.process.poll() is not None:
            self.signal_group(signal.SIGKILL)  # What it had started goes with it.
            lived_s = time.monotonic() - self.started_at
            self.deaths = 1 if lived_s > HEALTHY_S else self.deaths + 1
            delay_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (self.deaths - 1))
            self.restart_at = time.monotonic() + delay_s
            if self.program.is_quiet:
                self._log.show(self.last_words())
            self._log.say("run", f"{self.program.name} {self.ending()}; starting it again in {delay_s:g} s")

    def ending(self) -> str:
        code = self.process.poll()
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def signal_group(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, which)

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def finish_reading(self) -> None:
        self._reader.join(1.0)

    def last_words(self) -> str:
        self.finish_reading()
        return "\n".join(f"    {line}" for line in self.last_lines) or "    (it said nothing)"


class Supervisor:
    def __init__(self, log: Log) -> None:
        self.log = log
        self.is_stopping = False
        self._children: list[Child] = []

    def install_signal_handlers(self) -> None:
        for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(which, self._on_signal)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        self.is_stopping = True

    def start(self, program: Program) -> None:
        self.log.say("run", f"starting {program.name}")  # Not with its command: that may hold a secret.
        self._children.append(Child(program, self.log))

    def run_once(self, program: Program, timeout_s: float) -> None:
        """Run it to its end while the others are looked after; StartFailed if that is not exit code 0."""
        child = Child(program, self.log)
        deadline = time.monotonic() + timeout_s
        while child.is_alive():
            try:
                self._round()
            except Stopped:
                child.signal_group(signal.SIGKILL)
                raise
            if time.monotonic() > deadline:
                child.signal_group(signal.SIGKILL)
                raise StartFailed(f"{program.name} did not end within {timeout_s:g} s:\n{child.last_words()}")
        if child.process.returncode != 0:
            raise StartFailed(f"{program.name} {child.ending()}:\n{child.last_words()}")

    def wait_until(self, is_ready: Callable[[], bool], name: str, timeout_s: float) -> None:
        """Look after everybody until the named program is ready; StartFailed when it takes too long, or when any
        program keeps dying."""
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            self._round()
            for child in self._children:
                if child.deaths >= MAX_DEATHS_AT_START:
                    raise StartFailed(f"{child.program.name} keeps dying; it {child.ending()}:\n{child.last_words()}")
            if time.monotonic() > deadline:
                awaited = next(child for child in self._children if child.program.name == name)
                raise StartFailed(f"{name} is not ready after {timeout_s:g} s:\n{awaited.last_words()}")

    def run_until_stopped(self) -> None:
        try:
            while True:
                self._round()
        except Stopped:
            return

    def stop(self) -> None:
        """End everybody: those who need others first; who hangs is killed."""
        self._stop([child for child in self._children if not child.program.is_last_to_stop])
        self._stop([child for child in self._children if child.program.is_last_to_stop])
        self._children.clear()

    def _round(self) -> None:
        if self.is_stopping:
            raise Stopped
        for child in self._children:
            child.look_after()
        time.sleep(ROUND_S)

    def _stop(self, children: list[Child]) -> None:
        for child in children:
            child.signal_group(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while any(child.is_alive() for child in children) and time.monotonic() < deadline:
            time.sleep(ROUND_S)
        for child in children:
            if child.is_alive():
                self.log.say("run", f"{child.program.name} did not end within {STOP_S:g} s and is killed")
            child.signal_group(signal.SIGKILL)
            child.process.wait()
            child.finish_reading()
