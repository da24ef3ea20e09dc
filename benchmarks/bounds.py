"""The bounds that the solvers must reach."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from benchmarks import memory
from benchmarks.measure import Measures


@dataclass(frozen=True)
class Bound:
    """A ratio of measures and its limit."""

    text: str
    value: Callable[[Measures], float]
    limit: float
    at_least: bool = False

    def check(self, found: Measures) -> tuple[float | None, bool | None]:
        """Return the value, and whether it is within the limit; None if it was not measured."""
        try:
            value = self.value(found)
        except KeyError:
            return None, None
        return value, value >= self.limit if self.at_least else value <= self.limit

    @property
    def sign(self) -> str:
        """Direction of the limit."""
        return "≥" if self.at_least else "≤"


def _ratio(numerator: str, denominator: str) -> Callable[[Measures], float]:
    return lambda found: found[numerator] / found[denominator]


def _passes(found: Measures) -> float:
    return found["published: iterations"] / found["accelerated: passes to the published error"]


def _faster(seconds: str) -> Callable[[Measures], float]:
    """Return the ratio of the time of the published update to the time ``seconds``."""
    per_iteration = f"published-mem: {PER_ITERATION}"
    return lambda found: found["published: iterations"] * found[per_iteration] / found[seconds]


SAME = 1 + 1e-6
"""Tolerance for two methods that stop near the same optimum."""

PER_ITERATION = "seconds per iteration"
MAPPED = "memory-mapped sweep / reading the file and the products"
REFERENCE = f"multiplicative: {PER_ITERATION}"

BOUNDS = (
    Bound(
        "multiplicative: one iteration / the two products",
        _ratio(REFERENCE, f"products: {PER_ITERATION}"),
        1.3,
    ),
    Bound(
        "multiplicative: times faster than published-mem",
        _ratio(f"published-mem: {PER_ITERATION}", REFERENCE),
        4,
        at_least=True,
    ),
    Bound(
        "multiplicative: times faster than published-xxt",
        _ratio(f"published-xxt: {PER_ITERATION}", REFERENCE),
        15,
        at_least=True,
    ),
    Bound("accelerated: times fewer passes to the published error", _passes, 50, at_least=True),
    Bound(
        "accelerated: times faster to the published error",
        _faster("accelerated: seconds to the published error"),
        100,
        at_least=True,
    ),
    Bound(
        "accelerated: passes to its own stop / published iterations",
        _ratio("accelerated: passes", "published: iterations"),
        0.1,
    ),
    Bound("accelerated: KKT residual", lambda found: found["accelerated: KKT residual"], 1e-4),
    Bound("accelerated: largest rise", lambda found: found["accelerated: largest rise"], 1e-6),
    Bound(
        "accelerated: error / published",
        _ratio("accelerated: error", "published: error"),
        1.0001,
    ),
    Bound("orthonormal: error / published", _ratio("orthonormal: error", "published: error"), SAME),
    Bound(
        "orthonormal: times faster than published",
        _faster("orthonormal: seconds"),
        200,
        at_least=True,
    ),
    Bound(
        "orthonormal: error / best restart", _ratio("orthonormal: error", "restarts: error"), SAME
    ),
    Bound(
        "orthonormal: time / all restarts",
        _ratio("orthonormal: seconds", "restarts: seconds of 50"),
        0.2,
    ),
    Bound(
        "orthonormal: deviation of WᵀW from I",
        lambda found: found["orthonormal: deviation of WᵀW from I"],
        1e-6,
    ),
    Bound(
        "NNDSVD: time / orthonormal fit",
        _ratio("start: seconds", "orthonormal: seconds"),
        0.05,
    ),
    *(
        Bound(name, itemgetter(name), 300)
        for name in (f"memory of {solver} beside X and 4 W: MB" for solver in memory.SOLVERS)
    ),
    Bound(MAPPED, itemgetter(MAPPED), 1.5),
    Bound(
        "reproducibility: accelerated less published, inner product",
        lambda found: found["accelerated: inner product"] - found["published: inner product"],
        0,
        at_least=True,
    ),
    Bound(
        "reproducibility: accelerated less published, Rand index",
        lambda found: found["accelerated: Rand index"] - found["published: Rand index"],
        0,
        at_least=True,
    ),
)
