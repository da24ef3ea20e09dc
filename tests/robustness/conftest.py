import pytest
import yaml

from tests.builders import three_parts, write_cohort
from tests.robustness.generated import TRIED, count_test


@pytest.fixture(autouse=True)
def counted(request):
    """Count the cases of a test."""
    yield
    count_test(request.module.__name__.rpartition("test_")[2])


def pytest_terminal_summary(terminalreporter):
    """Print the number of cases of each area."""
    if TRIED:
        terminalreporter.section("cases of tests/robustness")
        for area, number in sorted(TRIED.items()):
            terminalreporter.write_line(f"{area:20}{number:8,}")
        terminalreporter.write_line(f"{'in all':20}{TRIED.total():8,}")


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
