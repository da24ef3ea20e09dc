"""How many cases a generated test has: few in `make test`, many in `make test-robustness`."""

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("OPNMF_CASES", "1"))


def cases(quick):
    """Return the settings of a test with ``quick`` cases, times OPNMF_CASES."""
    return settings(
        max_examples=quick * FACTOR,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
