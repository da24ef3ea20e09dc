"""The page: its records of runs, and where its viewer opens."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from opnmf_pipeline.reporting import page as page_module
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.page import _no_viewer, _viewer, embedded_pictures, with_runs
from opnmf_pipeline.reporting.viewer import Embedded

PAGE = "<p>before</p>\n<!-- runs -->\nold records\n<!-- /runs -->\n<p>after</p>\n"


def record(seconds=1, **values):
    known = {"Date": "2026-01-02T03:04:05+00:00", "Command": "run", "Seconds": seconds}
    known |= {"PeakMemoryBytes": 3 * 2**30, "Processes": 2, "Computed": ["mask"], "System": "x"}
    return known | values


def test_records_take_the_place_of_those_before():
    page = with_runs(PAGE, [record(Command="first"), record(Command="second")])
    assert page.startswith("<p>before</p>")
    assert page.endswith("<p>after</p>\n")
    assert "old records" not in page
    assert page.index("<code>first</code>") < page.index("<code>second</code>")
    assert page.count("3.00 GiB") == 2
    assert with_runs(page, [record(Command="first"), record(Command="second")]) == page


def test_without_a_run_there_is_no_table():
    page = with_runs(with_runs(PAGE, [record()]), [])
    assert "<table>" not in page
    assert with_runs(page, [record()]) == with_runs(PAGE, [record()])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.6, "5 s"), (65, "1 min 5 s"), (3599.6, "1 h 0 min"), (7325, "2 h 2 min")],
)
def test_how_long_a_run_took(seconds, text):
    assert f"<td>{text}</td>" in with_runs(PAGE, [record(seconds)])


def facts(*, chosen=None, on_background=False, images):
    peaks = pd.DataFrame({"index": [1], "peak_x": [1.0], "peak_y": [2.0], "peak_z": [3.0]})
    return SimpleNamespace(
        volumes=Embedded(images, 1),
        fits=[SimpleNamespace(k=k, parts=peaks, reliability=None) for k in (4, 9)],
        on_background=on_background,
        selection=SimpleNamespace(chosen=chosen),
    )


@pytest.mark.parametrize(
    ("fits", "report", "sentence"),
    [
        ([], {"atlas": "a.nii.gz"}, " A comparison of numbers of components draws no maps"),
        ([], {}, " A comparison of numbers of components draws no maps"),
        ([1], {}, " Without an atlas (report.atlas), there are no maps"),
        ([1], {"atlas": "a.nii.gz"}, ""),
    ],
)
def test_why_a_table_has_no_viewer(fits, report, sentence):
    found = _no_viewer(SimpleNamespace(fits=fits), {"report": report})
    assert found.startswith(sentence)
    assert bool(found) == bool(sentence)


@pytest.mark.parametrize(("chosen", "first"), [(9, 9), (4, 4), (None, 4), (5, 4)])
def test_the_viewer_opens_at_the_chosen_number(chosen, first):
    assert _viewer(facts(chosen=chosen, images=("of4", "of9")))["first"] == first


def test_the_background_comes_before_the_components():
    found = _viewer(facts(on_background=True, images=("behind", "of4", "of9")))
    assert found["background"] == "behind"
    assert [(fit["k"], fit["image"]) for fit in found["fits"]] == [(4, "of4"), (9, "of9")]
    assert found["fits"][0]["peaks"] == [[1.0, 2.0, 3.0]]
    assert _viewer(facts(images=("of4", "of9")))["background"] == ""


def test_pictures_that_are_too_large_are_made_smaller_until_they_fit(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    figures = [Figure(buffer.getvalue(), "noise", "noise")]
    (whole,) = embedded_pictures(figures).values()
    assert whole.width == 210  # of 2 inches
    monkeypatch.setattr(page_module, "MAX_PICTURE_BYTES", len(whole.url) // 20)
    (small,) = embedded_pictures(figures).values()
    assert len(small.url) <= len(whole.url) // 20
    assert small.width == 210
