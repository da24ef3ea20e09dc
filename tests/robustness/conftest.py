import pytest
import yaml

from tests.builders import three_parts, write_cohort


@pytest.fixture
def command(tmp_path):
    """Arguments of a quick run on a tiny cohort, without its output folder."""
    cohort = write_cohort(tmp_path / "dataset", three_parts())
    settings = {
        "inputs": {"bids": str(cohort.root), "filters": {"label": "GM", "suffix": "probseg"}},
        "decomposition": {"n_components": [2], "max_iter": 100, "tol": 1e-3},
        "report": {"figures": False},
        "execution": {"n_procs": 1},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    return ["run", str(config)]
