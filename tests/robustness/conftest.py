"""How many cases a test has: few in `make test`, many with ``--slow-cases``."""

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("OPNMF_CASES", "1"))


def cases(quick):
    """Return the settings of a test with ``quick`` cases; OPNMF_CASES multiplies the number."""
    return settings(
        max_examples=quick * FACTOR,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
