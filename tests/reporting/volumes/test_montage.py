import matplotlib.image
import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
import pytest
from nilearn.datasets import load_mni152_template

from opnmf_pipeline.reporting.figure import part_colours
from opnmf_pipeline.reporting.volumes import montage
from opnmf_pipeline.reporting.volumes.montage import draw_components, draw_parts

TITLES = ["component 1: Left insula", "component 2: " + "a very long name " * 20]


@pytest.fixture(scope="module")
def template():
    return load_mni152_template(resolution=4)


@pytest.fixture
def components(template, tmp_path):
    """Two boxes, one in each hemisphere."""
    values = np.zeros((*template.shape, 2), dtype=np.float32)
    values[8:14, 20:28, 20:26, 0] = 1
    values[-14:-8, 20:28, 20:26, 1] = 2
    nb.Nifti1Image(values, template.affine).to_filename(tmp_path / "components.nii.gz")
    return tmp_path / "components.nii.gz"


def coloured(path):
    """Share of the pixels of a picture that are not grey."""
    pixels = matplotlib.image.imread(path)[..., :3]
    return float((np.ptp(pixels, axis=-1) > 0.2).mean())


def test_components(components, template, tmp_path):
    out = draw_components(components, TITLES, template, tmp_path / "c.png")
    pixels = matplotlib.image.imread(out)
    assert pixels.shape[1] > pixels.shape[0] > 100
    assert 0.003 < coloured(out) < 0.5


def test_parts(components, template, tmp_path):
    values = np.asarray(nb.load(components).dataobj)
    labels = (values.argmax(axis=-1) + 1) * values.any(axis=-1)
    image = nb.Nifti1Image(labels.astype(np.int16), template.affine)
    image.to_filename(tmp_path / "dseg.nii.gz")
    out = draw_parts(tmp_path / "dseg.nii.gz", TITLES, template, tmp_path / "d.png")
    assert 0.003 < coloured(out) < 0.5


def test_label_maps_of_one_mask_are_drawn_in_the_same_cuts(template, tmp_path, monkeypatch):
    figures = kept(monkeypatch)
    for parts in (1, 4):
        labels = np.zeros(template.shape, dtype=np.int16)
        labels[8:-8, 12:40, 10:30] = 1 + np.arange(20) * parts // 20
        nb.Nifti1Image(labels, template.affine).to_filename(tmp_path / "dseg.nii.gz")
        titles = [f"component {number + 1}" for number in range(parts)]
        draw_parts(tmp_path / "dseg.nii.gz", titles, template, tmp_path / "d.png")
    cuts, of_other = (
        [text.get_text() for axis in figure.axes for text in axis.texts if "=" in text.get_text()]
        for figure in figures
    )
    for figure in figures:
        plt.close(figure)
    assert len(set(cuts)) == 18
    assert cuts == of_other


def kept(monkeypatch):
    """Keep the figures that are saved."""
    figures = []
    monkeypatch.setattr(montage, "save", lambda figure, path, **_: figures.append(figure) or path)
    return figures


def test_the_label_map_has_a_legend_of_numbers_names_and_colours(template, tmp_path, monkeypatch):
    labels = np.zeros(template.shape, dtype=np.int16)
    labels[8:14, 20:28, 20:26], labels[14:20, 20:28, 20:26], labels[20:26, 20:28, 20:26] = 1, 2, 3
    nb.Nifti1Image(labels, template.affine).to_filename(tmp_path / "dseg.nii.gz")
    figures = kept(monkeypatch)
    titles = ["component 1: Left insula", "component 2: <$x$>", "component 3"]
    draw_parts(tmp_path / "dseg.nii.gz", titles, template, tmp_path / "d.png")
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "1: Left insula",
        r"2: <\$x\$>",
        "3",
    ]
    colours = [patch.get_facecolor()[:3] for patch in legend.legend_handles]
    np.testing.assert_allclose(colours, part_colours(3))
    plt.close(figures[0])


def test_the_montage_has_a_colour_bar_from_the_threshold(components, template, monkeypatch):
    figures = kept(monkeypatch)
    draw_components(components, TITLES, template, components)
    bar = next(axis for axis in figures[0].axes if "weight (%" in axis.get_xlabel())
    assert "below 5%: not drawn" in bar.get_xlabel()
    assert bar.get_xlim() == (5, 100)
    plt.close(figures[0])


def test_a_component_without_weight_is_drawn_empty(template, tmp_path):
    values = np.zeros((*template.shape, 2), dtype=np.float32)
    values[8:14, 20:28, 20:26, 0] = 1
    nb.Nifti1Image(values, template.affine).to_filename(tmp_path / "c.nii.gz")
    assert draw_components(tmp_path / "c.nii.gz", TITLES, template, tmp_path / "c.png").exists()


def test_figures_are_closed(components, template, tmp_path):
    before = plt.get_fignums()
    draw_components(components, TITLES, template, tmp_path / "c.png")
    assert plt.get_fignums() == before


@pytest.mark.parametrize("k", [1, 8, 18, 19, 60])
def test_parts_have_colours_of_their_own_and_none_is_grey(k):
    colours = np.array(part_colours(k))
    assert colours.shape == (k, 3)
    assert len(np.unique(colours, axis=0)) == k
    assert (np.ptp(colours, axis=1) > 0.05).all()


def test_cuts_go_through_the_largest_weight(template, tmp_path):
    """A box that no cut meets whose place is that of a voxel, read as mm."""
    values = np.zeros((*template.shape, 1), dtype=np.float32)
    values[8:14, 20:28, 30:36, 0] = 1
    nb.Nifti1Image(values, template.affine).to_filename(tmp_path / "c.nii.gz")
    out = draw_components(tmp_path / "c.nii.gz", TITLES, template, tmp_path / "c.png")
    assert coloured(out) > 0.003
