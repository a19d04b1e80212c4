"""A supervisor with the programs that the command line names: name=python-code …"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from devserver.supervisor import Log, Program, StartFailed, Supervisor


def main() -> None:
    log = Log()
    supervisor = Supervisor(log)
    supervisor.install_signal_handlers()
    for word in sys.argv[1:]:
        name, _, code = word.partition("=")
        supervisor.start(Program(name, (sys.executable, "-uc", code), os.environ, Path.cwd()))
    try:
        if "UNTIL_READY" in os.environ:
            supervisor.wait_until(lambda: False, os.environ["UNTIL_READY"], 20)
        supervisor.run_until_stopped()
    except StartFailed as error:
        log.show(f"start failed: {error}")
    finally:
        supervisor.stop()
    log.show("all ended")


main()
