"""The reference pages say what the code does, and leave nothing out."""

import importlib
import sys

import pytest

from opnmf_pipeline.config import PipelineConfig, Section
from opnmf_pipeline.decomposition.solvers import SOLVERS
from tests.conftest import ROOT

pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    yield importlib.import_module("reference_tables")
    sys.path.pop(0)


def keys_of(model, prefix):
    """Yield `section.key` of every setting, those of sections in sections too."""
    for name, field in model.model_fields.items():
        options = getattr(field.annotation, "__args__", (field.annotation,))
        nested = [one for one in options if isinstance(one, type) and issubclass(one, Section)]
        if nested:
            yield from keys_of(nested[0], f"{prefix}{name}.")
        else:
            yield prefix + name


COUNT = "integer ≥ 1, ≤ 100000"


def test_every_setting_is_described(tables):
    described = tables.settings_text()
    missing = [
        key for key in keys_of(PipelineConfig, "") if f"{{confval}} {key}\n" not in described
    ]
    assert not missing
    assert described.count("{confval}") == len(list(keys_of(PipelineConfig, "")))


@pytest.mark.parametrize(
    ("key", "kind", "default"),
    [
        ("mask.coverage", "number > 0, ≤ 1", "`0.9`"),
        ("mask.method", "`mean`, `coverage`, `template`, `image`, `all`", "`mean`"),
        (
            "decomposition.n_components",
            f"{COUNT} or list, each {COUNT}",
            "`10`",
        ),
        ("inputs.bids", "path", "not set"),
        ("inputs.features", "path or list, each path", "not set"),
        ("inputs.filters", "mapping", "empty"),
        ("report.figures", "true or false", "`true`"),
    ],
)
def test_what_a_setting_may_be(tables, key, kind, default):
    assert f"{{confval}} {key}\n:type: {kind}\n:default: {default}\n" in tables.settings_text()


def test_every_solver_is_in_the_table(tables):
    text = tables.solvers_text()
    for name, solver in SOLVERS.items():
        assert f"| `{name}` | {solver.summary} |" in text
    assert "[Kim & Park, 2011](https://doi.org/10.1137/110821172)" in text


def test_nodes_have_their_inputs(tables):
    text = tables.node_text("MakeMask")
    assert "| `images` | required |" in text
    assert "| `method` | `mean` |" in text
    assert "| `mask_file` |" in text
