"""Generated tests: how many cases each has, and how many were tried.

`make test` tries few cases, `make test-robustness` many.
"""

import functools
import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("OPNMF_CASES", "1"))

_n_tried = 0


def tried():
    """Count one case of the test that runs."""
    global _n_tried
    _n_tried += 1


def n_tried():
    """Return the number of cases since the last call; a test without a list of cases is one."""
    global _n_tried
    found, _n_tried = max(1, _n_tried), 0
    return found


def cases(quick):
    """Return the decorator of a test with ``quick`` cases, times OPNMF_CASES."""

    def decorate(test):
        inner = test.hypothesis.inner_test

        @functools.wraps(inner)
        def counted(*arguments, **keywords):
            tried()
            return inner(*arguments, **keywords)

        test.hypothesis.inner_test = counted
        return settings(
            max_examples=quick * FACTOR,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )(test)

    return decorate
