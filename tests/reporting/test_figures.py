"""What figures show, read from their axes before they are saved."""

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.reporting import curves, hierarchy
from opnmf_pipeline.reporting.course import draw_course
from opnmf_pipeline.reporting.figure import part_colours

KS = [2, 3, 5, 8]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws and returns the figure."""
    import matplotlib.pyplot as plt

    def drawn(module, draw, table, *options):
        kept = []
        monkeypatch.setattr(module, "save", lambda figure, path: kept.append(figure) or path)
        draw(table, tmp_path / "picture.png", *options)
        kept[0].canvas.draw()  # places the axes
        plt.close(kept[0])
        return kept[0]

    return drawn


@pytest.fixture
def metrics():
    falling = np.array([4.0, 3.0, 2.5, 2.4])
    table = {"n_components": KS, "reconstruction_error": falling, "lower_bound": falling / 2}
    table |= {"error_gradient": [np.nan, 1.0, 0.25, 0.03]}
    for name in ("half_explained_variance", "out_of_sample_explained_variance"):
        table |= {name: 1 - falling / 10, f"{name}_sd": 0.01}
    return pd.DataFrame(table)


def panels(figure):
    return [axis for axis in figure.axes if axis.get_title(loc="left")]


def test_a_single_gain_has_no_panel(drawn, metrics):
    titles = [
        [axis.get_title(loc="left") for axis in panels(figure)]
        for figure in (
            drawn(curves, curves.draw_errors, metrics),
            drawn(curves, curves.draw_errors, metrics.head(2)),
        )
    ]
    assert titles[0] == [
        "Reconstruction error",
        "In and out of sample",
        "Gain of one more component",
    ]
    assert titles[1] == titles[0][:2]


def test_legends_are_below_the_curves_and_all_axes_have_labels(drawn, metrics):
    figure = drawn(curves, curves.draw_errors, metrics, {"k": 5, "good": [3, 5]})
    shown = panels(figure)
    assert all(axis.get_legend() is None for axis in shown)
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in shown)
    legends = [axis.get_legend() for axis in figure.axes if axis not in shown]
    assert [len(legend.get_texts()) for legend in legends] == [2, 2, 1]
    lowest = min(axis.get_position().y0 for axis in shown)
    assert all(legend.axes.get_position().y1 <= lowest for legend in legends)
    assert "R² about the mean (%)" in [axis.get_ylabel() for axis in shown]


def test_parts_of_the_hierarchy_have_their_numbers_and_the_colours_of_their_label_map(drawn):
    overlaps = pd.DataFrame(
        {
            "n_components": [2, 2, 2, 3, 3, 3, 3],
            "part": [1, 1, 2, 1, 2, 3, 3],
            "next_n_components": [3, 3, 3, 4, 4, 4, 4],
            "next_part": [1, 3, 2, 2, 1, 3, 4],
            "n_voxels": [50, 20, 30, 50, 30, 15, 5],
        }
    )
    (axis,) = drawn(hierarchy, hierarchy.draw_hierarchy, overlaps).axes
    colours = [bar.get_facecolor()[:3] for column in axis.containers for bar in column]
    expected = [colour for k in (2, 3, 4) for colour in part_colours(k)]
    np.testing.assert_allclose(colours, expected)
    bars = [bar for column in axis.containers for bar in column]
    assert [text.get_text() for text in axis.texts] == ["1", "2", "1", "2", "3", "1", "2", "3", "4"]
    for text, bar in zip(axis.texts, bars, strict=True):
        assert bar.get_y() < text.get_position()[1] < bar.get_y() + bar.get_height()


def course(*objective):
    history = {"objective": objective, "change": [0.1] * len(objective)}
    return draw_course({"History": history, "ReconstructionError": 171.69}, 1e-5)


def test_a_course_that_rises_is_told_with_its_lowest_and_its_last_error():
    caption = course(180.0, 171.5, 171.69).caption
    assert "The lowest error is 171.5, after sweep 2; the error of the result is 171.69." in caption


def test_a_single_sweep_has_no_course():
    assert course(180.0) is None
