from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

from .conftest import Terminal, is_running, wait_until

OpenTerminal = Callable[..., Terminal]
STACK = "tests/devserver/small_stack.py"

SAY_PID = "import os, time; print('pid', os.getpid()); time.sleep(600)"
HANG = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SAY_PID
WITH_GRANDCHILD = (
    "import subprocess, sys; "
    "child = subprocess.Popen([sys.executable, '-c', "
    "'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)']); "
    "print('pid', child.pid); child.wait()"
)


def pids(terminal: Terminal, name: str) -> list[int]:
    return [int(pid) for pid in re.findall(rf"^{name} +\| pid (\d+)$", terminal.text(), re.MULTILINE)]


def test_it_puts_the_name_before_each_line(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(STACK, "first=print('hello'); import time; time.sleep(600)", f"second={SAY_PID}")

    terminal.wait_for("first     | hello")
    wait_until(lambda: pids(terminal, "second"))


def test_it_starts_a_killed_program_again_and_says_so(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(STACK, f"a={SAY_PID}", f"b={SAY_PID}")
    wait_until(lambda: pids(terminal, "a") and pids(terminal, "b"))

    os.kill(pids(terminal, "a")[0], signal.SIGKILL)

    terminal.wait_for("a was ended by SIGKILL; starting it again")
    wait_until(lambda: len(pids(terminal, "a")) == 2)
    assert is_running(pids(terminal, "a")[1])
    assert len(pids(terminal, "b")) == 1


def test_it_pauses_longer_each_time_a_program_dies(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(STACK, "a=raise SystemExit(3)")

    terminal.wait_for("ended with exit code 3; starting it again in 0.5 s")
    terminal.wait_for("starting it again in 1 s")
    terminal.wait_for("starting it again in 2 s")


def test_ctrl_c_ends_everybody(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(STACK, f"a={SAY_PID}", f"b={SAY_PID}")
    wait_until(lambda: pids(terminal, "a") and pids(terminal, "b"))

    terminal.send(signal.SIGINT)

    assert terminal.wait(5) == 0
    assert "all ended" in terminal.text()
    assert not any(is_running(pid) for pid in pids(terminal, "a") + pids(terminal, "b"))


def test_sigterm_ends_who_hangs_and_says_so(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(STACK, f"a={HANG}")
    wait_until(lambda: pids(terminal, "a"))

    begun = time.monotonic()
    terminal.send(signal.SIGTERM)
    terminal.send(signal.SIGTERM)

    assert terminal.wait(15) == 0
    assert 7 < time.monotonic() - begun < 12
    assert "a did not end within 8 s and is killed" in terminal.text()
    assert not is_running(pids(terminal, "a")[0])


def test_what_a_program_had_started_ends_with_it(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(STACK, f"a={WITH_GRANDCHILD}")
    wait_until(lambda: pids(terminal, "a"))

    terminal.send(signal.SIGTERM)

    assert terminal.wait(12) == 0
    wait_until(lambda: not is_running(pids(terminal, "a")[0]))


def test_nobody_outlives_a_supervisor_that_was_killed(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(STACK, f"a={SAY_PID}", f"b={SAY_PID}")
    wait_until(lambda: pids(terminal, "a") and pids(terminal, "b"))

    terminal.send(signal.SIGKILL)

    wait_until(lambda: not any(is_running(pid) for pid in pids(terminal, "a") + pids(terminal, "b")))


def test_who_cannot_start_is_given_up_with_its_last_lines(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal(
        STACK, f"good={SAY_PID}", "bad=print('the reason'); raise SystemExit(7)", UNTIL_READY="bad"
    )

    assert terminal.wait(15) == 0
    assert "start failed: bad keeps dying; it ended with exit code 7" in terminal.text()
    assert terminal.text().partition("start failed")[2].count("the reason") == 1
    assert not is_running(pids(terminal, "good")[0])


def test_a_program_that_does_not_exist_is_named(open_terminal: OpenTerminal) -> None:
    terminal = open_terminal("-m", "devserver.child", "/no/such/program")

    assert terminal.wait(5) == 1
    assert terminal.text() == "/no/such/program: No such file or directory\n"
