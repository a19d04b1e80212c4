"""How pytest-xdist deals out the tests: what shares a running program goes to one process, and first of all.

Begun late, these would be the last to end; spread over two processes, each of those would start a program of its own.
Groups are places and not marks: pytest 9.2 takes no notice of the mark that xdist 3.8 writes into a test's name.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/e2e/", "tests/processes/", "tests/web/test_browser.py")


class Together(LoadScopeScheduling):
    """Gives each process the next test or group as soon as it is free; groups come first, as they are the largest."""

    def _split_scope(self, nodeid: str) -> str:
        place = next((place for place in TOGETHER if nodeid.startswith(place)), nodeid)
        # There each database has a running program of its own.
        return f"{place}postgres" if place == "tests/processes/" and "[postgres" in nodeid else place
