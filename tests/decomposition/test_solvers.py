import inspect
import string

import pytest

from opnmf_pipeline.config import DecompositionConfig
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.progress import CHANGE, Criterion
from opnmf_pipeline.decomposition.solvers import SOLVERS, criteria, meanings, summaries

COMMON = {"X", "W", "progress"}


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_takes_the_settings_that_it_names(name):
    solver = SOLVERS[name]
    parameters = inspect.signature(solver.run).parameters
    assert parameters.keys() == COMMON | solver.settings.keys()
    assert solver.settings.keys() <= DecompositionConfig.model_fields.keys()
    assert solver.settings.keys() <= OPNMF().get_params().keys()


@pytest.mark.parametrize("name", SOLVERS)
def test_the_methods_name_settings_that_exist(name):
    slots = {slot for _, slot, *_ in string.Formatter().parse(SOLVERS[name].methods) if slot}
    named = slots - {"element", "elements"}  # of the grid
    assert {"init", "tol", "max_iter"} <= named <= DecompositionConfig.model_fields.keys()


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_described_where_users_look(name):
    assert f"``{name}``" in OPNMF.__doc__
    description = DecompositionConfig.model_fields["solver"].description
    assert f"{name}: {SOLVERS[name].summary}" in description
    assert SOLVERS[name].label


def test_descriptions_name_the_solvers():
    assert summaries().startswith("multiplicative: the published iterates")
    assert meanings("n_init").startswith("orthonormal: number of starts")
    assert criteria() == (
        "multiplicative, orthonormal: relative change of W in an iteration below tol; "
        "accelerated: KKT residual below 10 x tol; "
        "adaptive: KKT residual (for disjoint parts, the relative change of W) below 10 x tol"
    )


def test_a_new_solver_is_one_entry(monkeypatch, X):
    """The estimator runs it with its settings, and names its measure where it does not converge."""
    seen = {}

    def standstill(X, W, progress, *, n_init):
        seen["n_init"] = n_init
        progress.record(1.0, 0.5)
        return W

    measure = Criterion("slope", "slope of the error", lambda fit: 0.25, factor=2)
    monkeypatch.setitem(
        SOLVERS,
        "standstill",
        type(SOLVERS["orthonormal"])(
            run=standstill,
            refine=lambda X, W, progress: W,
            label="no step at all",
            summary="the start",
            methods="W was left as it was.",
            criterion=measure,
            settings={"n_init": "nothing"},
        ),
    )
    with pytest.warns(UserWarning, match=r"with slope 0.25, not below 2 x tol=1e-05"):
        OPNMF(2, solver="standstill", n_init=7, max_iter=1).fit(X)
    assert seen == {"n_init": 7}
    assert meanings("n_init").endswith("; standstill: nothing")


def test_by_default_the_change_has_to_become_small():
    assert SOLVERS["multiplicative"].criterion is CHANGE
    assert CHANGE.limit("tol=1e-05") == "tol=1e-05"
