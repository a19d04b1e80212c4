"""How long Hypothesis may look: bounded everywhere, the same examples each time where a failure would stop others.

`HYPOTHESIS_PROFILE=thorough` looks much longer. `quick` is for `make coverage` and `make mutants`, which ask what the
tests reach and notice, not whether the program is right: a failure is not made smaller there.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

settings.register_profile("local", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None, print_blob=True)
# mutmut runs the tests several times in one process, each time with other instances of the test classes.
settings.register_profile(
    "quick",
    settings.get_profile("ci"),
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.register_profile("thorough", settings.get_profile("local"), max_examples=1500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "local"))
