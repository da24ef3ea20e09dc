import matplotlib.pyplot as plt
import numpy as np
import pytest
from nilearn.surface import InMemoryMesh
from PIL import Image
from scipy.spatial import KDTree

from opnmf_pipeline.images.surfaces.meshes import faces
from opnmf_pipeline.reporting.figure import part_colours
from opnmf_pipeline.reporting.surfaces import (
    draw_cohort_maps,
    draw_components,
    draw_parts,
    montage,
)
from opnmf_pipeline.reporting.surfaces.cortex import read_maps
from tests.surfaces import write_cifti

TITLES = ["component 1", "component 2"]


def sphere():
    from nilearn.datasets import load_fsaverage

    return load_fsaverage("fsaverage5")["sphere"].parts["left"].coordinates


@pytest.mark.parametrize("n_vertices", [642, 10242, pytest.param(40962, marks=pytest.mark.slow)])
def test_maps_are_moved_to_fsaverage5(tmp_path, n_vertices):
    """A smooth map on any mesh of fsaverage is the same smooth map on fsaverage5."""
    height = np.zeros(n_vertices, np.float32)
    n_shared = min(n_vertices, 10242)
    height[:n_shared] = sphere()[:n_shared, 2]
    keep = np.ones((2, n_vertices), dtype=bool)
    keep[:, 5] = False
    path = write_cifti(tmp_path / "a.dscalar.nii", np.stack([height, height]), keep)
    maps = read_maps(path)
    found = maps.values["left"][:, 0]
    assert maps.problem == ""
    spacing = KDTree(sphere()[:n_shared]).query(sphere()[:n_shared], k=2)[0].max()
    hole = np.isnan(found)
    assert abs(found - sphere()[:, 2])[~hole].max() <= spacing
    assert hole[5]
    assert hole.sum() <= 20


def test_a_mesh_without_picture_is_named(tmp_path):
    maps = read_maps(write_cifti(tmp_path / "a.dscalar.nii", np.ones((2, 50), np.float32)))
    assert maps.values == {}
    assert "no mesh with 50 vertices" in maps.problem


def test_maps_on_a_mesh_of_the_user(tmp_path):
    values = np.random.default_rng(0).random((2, 642)).astype(np.float32)
    path = write_cifti(tmp_path / "a.dscalar.nii", values)
    meshes = [tmp_path / f"hemi-{side}_midthickness.surf.gii" for side in "LR"]
    for mesh, side in zip(meshes, ("L", "R"), strict=True):
        InMemoryMesh(sphere()[:642], faces(642, side)).to_gifti(mesh)
    maps = read_maps(path, meshes)
    np.testing.assert_array_equal(maps.values["right"][:, 0], values[1])
    np.testing.assert_array_equal(maps.cortex["left"][0].faces, faces(642, "L"))
    other = read_maps(write_cifti(tmp_path / "b.dscalar.nii", np.ones((2, 50), np.float32)), meshes)
    assert other.values == {}
    assert "the maps have 50 vertices in the left hemisphere" in other.problem
    assert "hemi-L_midthickness.surf.gii has 642" in other.problem.replace("\n", " ")


def test_pictures_without_a_mesh_say_so(tmp_path):
    path = write_cifti(tmp_path / "a.dscalar.nii", np.ones((2, 50), np.float32))
    pictures = [
        draw_components(path, ["component 1"], None, tmp_path / "a.png"),
        draw_parts(path, ["component 1"], None, tmp_path / "b.png"),
    ]
    for picture in pictures:
        assert np.asarray(Image.open(picture).convert("L")).min() < 100  # there is text
    figure = draw_cohort_maps({"Mean": path}, path)
    assert "no mesh with 50 vertices" in figure.caption
    assert not plt.get_fignums()


@pytest.mark.slow
def test_pictures_of_parts_have_their_colours(tmp_path):
    labels = np.ones((2, 642), np.float32)
    labels[1] = 2
    path = write_cifti(tmp_path / "a.dscalar.nii", labels)
    pixels = np.asarray(
        Image.open(draw_parts(path, TITLES, None, tmp_path / "a.png")).convert("RGB")
    )
    left, right = (
        pixels[: pixels.shape[0] // 2, : pixels.shape[1] // 2],
        pixels[: pixels.shape[0] // 2, pixels.shape[1] // 2 :],
    )
    for half, colour, other in ((left, 0, 1), (right, 1, 0)):
        first, second = (np.round(np.array(part_colours(2)[n]) * 255) for n in (colour, other))
        assert (abs(half - first).max(axis=-1) < 12).mean() > 0.2
        assert not (abs(half - second).max(axis=-1) < 12).any()


def test_pictures_say_the_side_of_each_view_and_what_the_colours_are(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(montage, "_save", lambda figure, *_: figures.append(figure))
    path = write_cifti(tmp_path / "a.dscalar.nii", np.ones((2, 642), np.float32))
    draw_components(path, ["component 1"], None, tmp_path / "a.png")
    draw_parts(path, ["component 1"], None, tmp_path / "b.png")
    for figure in figures:
        marks = [text.get_text() for axis in figure.axes[:4] for text in axis.texts]
        assert marks == ["L", "L", "R", "R"]
    bar = next(axis for axis in figures[0].axes if "weight (%" in axis.get_xlabel())
    assert "below 5%: not drawn" in bar.get_xlabel()
    assert bar.get_xlim() == (5, 100)
    for figure in figures:
        plt.close(figure)


def test_the_folds_are_lighter_than_low_weights(tmp_path):
    """The colours of low weights are nearly black."""
    maps = read_maps(write_cifti(tmp_path / "a.dscalar.nii", np.ones((2, 642), np.float32)))
    for _, grey in maps.cortex.values():
        assert 0 <= grey.min() < 0.1
        assert 0.3 < grey.max() < 0.5


@pytest.mark.slow
def test_every_component_has_four_views(tmp_path):
    one = write_cifti(tmp_path / "a.dscalar.nii", np.ones((2, 642), np.float32))
    pixels = np.asarray(
        Image.open(draw_components(one, ["component 1"], None, tmp_path / "a.png")).convert("RGB")
    )
    views = pixels[: pixels.shape[0] * 2 // 3]  # the colour bar is below them
    drawn = (views.min(axis=-1) < 250).any(axis=0)
    starts = np.flatnonzero(np.diff(drawn[: drawn.size].astype(int)) == 1)
    assert len(starts) in (3, 4)
