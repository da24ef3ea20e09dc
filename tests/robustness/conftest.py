import pandas as pd
import pytest
import yaml

from tests.builders import three_parts, write_cohort
from tests.robustness.generated import n_tried


@pytest.fixture(autouse=True)
def counted(request):
    """Note the area of a test and the number of its cases in its report."""
    yield
    request.node.user_properties.append(("cases", (area(request.node), n_tried())))


def area(test):
    """Return the module of a test; for a test of an engine, also its name and the engine."""
    module = test.module.__name__.rpartition("test_")[2].replace("_", " ")
    engine = getattr(test, "callspec", None) and test.callspec.params.get("engine")
    if not engine:
        return module
    return f"{module}: {test.originalname.removeprefix('test_').replace('_', ' ')}, {engine}"


def pytest_terminal_summary(terminalreporter):
    """Print the cases of each area, those that failed and the time; one test can try many cases."""
    reports = [one for some in terminalreporter.stats.values() for one in some]
    reports = [one for one in reports if isinstance(one, pytest.TestReport)]
    rows = []
    for report in reports:
        for where, n_cases in (value for name, value in report.user_properties if name == "cases"):
            seconds = sum(one.duration for one in reports if one.nodeid == report.nodeid)
            failed = any(one.failed for one in reports if one.nodeid == report.nodeid)
            rows.append((where, 1, int(failed), n_cases, round(seconds)))
    if not rows:
        return
    columns = ["area", "tests", "failed", "cases", "seconds"]
    table = pd.DataFrame(rows, columns=columns).groupby("area").sum()
    table.loc["in all"] = table.sum()
    table.index = table.index.str.ljust(table.index.str.len().max())
    terminalreporter.section("cases of tests/robustness")
    terminalreporter.write_line(table.rename_axis(None).map("{:,}".format).to_string())


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
