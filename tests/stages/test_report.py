import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.stages.report import make_report

ADDRESS = re.compile(r"(?:src|href)=[\"'](.*?)[\"']|url\((.*?)\)", re.IGNORECASE | re.DOTALL)


@pytest.fixture
def results(tmp_path):
    """Files of a run with k = 3 that did not converge; one part has a single voxel."""
    info = {
        "NumberOfComponents": 3,
        "NumberOfVoxels": 2000,
        "NumberOfSubjects": 12,
        "Settings": {"solver": "multiplicative"},
        "Versions": {"numpy": "2.0"},
        "Norm": 10.0,
        "ReconstructionError": 1.0,
        "LowerBound": 0.5,
        "Iterations": 3,
        "Converged": False,
        "History": {"objective": [3.0, 2.0, 1.0], "change": [1.0, 0.1, 0.01]},
    }
    for name in "WH":
        np.save(tmp_path / f"{name}.npy", np.ones((3, 3), np.float32))
    (tmp_path / "factorization.json").write_text(json.dumps(info))
    metrics = pd.DataFrame({"n_components": [3], "smallest_part": [1], "sparsity": [np.nan]})
    metrics.to_csv(tmp_path / "metrics.tsv", sep="\t", index=False)
    described = {name: {"Description": f"<i>{name}</i>"} for name in metrics}
    (tmp_path / "metrics.json").write_text(json.dumps(described))
    labels = pd.DataFrame({"index": [1, 2, 3], "name": ["<b>1</b>", "2", "3"], "n_voxels": 1})
    labels.to_csv(tmp_path / "dseg.tsv", sep="\t", index=False)
    return tmp_path


def render(results, figures=(), settings=""):
    return make_report(
        results / "metrics.tsv",
        [results / "factorization.json"],
        [results / "dseg.tsv"],
        figures,
        results / "report.html",
        settings,
    ).read_text(encoding="utf-8")


def test_nothing_is_asked_for_from_elsewhere(results):
    picture = results / "picture.png"
    picture.write_bytes(b"\x89PNG")
    page = render(results, [(picture, picture)])
    addresses = ["".join(found) for found in ADDRESS.findall(page)]
    assert len(addresses) == 6
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "<script" not in page
    assert page.count('src="data:image/png;base64,') == 3


def test_what_comes_from_files_is_escaped(results):
    page = render(results, settings="<script>alert(1)</script>")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "<b>1</b>" not in page
    assert "<i>" not in page


def test_what_needs_attention_stands_at_the_head(results):
    page = render(results)
    head = page[: page.index('id="metrics"')]
    assert "k = 3: the fit did not converge; raise decomposition.max_iter" in head
    assert "k = 3: the smallest part has only 1 voxels" in head


def test_nothing_needs_attention(results):
    file = results / "factorization.json"
    info = json.loads(file.read_text()) | {"Converged": True, "NumberOfVoxels": 9}
    file.write_text(json.dumps(info))
    assert "Needs attention" not in render(results)


def test_the_numbers(results):
    page = render(results)
    assert "stopped without converging after 3 iterations" in page
    assert "error of 1, which explains 99.0% of the data" in page
    assert "no 3 components can have an error below 0.5" in page
    assert "<td>n/a</td>" in page


def test_every_element_is_closed_and_every_picture_described(results):
    class Checker(HTMLParser):
        void = frozenset({"meta", "img", "br", "link"})
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            if tag == "img":
                assert dict(attrs)["alt"]
            if tag not in self.void:
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(render(results))
    assert checker.open == []


def test_equal_results_are_equal_bytes(results):
    assert render(results) == render(results)
