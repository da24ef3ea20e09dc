import networkx as nx
import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.images.shape import symmetry
from opnmf_pipeline.images.surfaces import Mask, copies, open_mask
from opnmf_pipeline.images.surfaces.files import read_axis
from opnmf_pipeline.images.surfaces.grid import Grid
from opnmf_pipeline.images.surfaces.meshes import edges, faces
from tests.surfaces import write_cifti

N = 642


def mask_of(folder, n_vertices=N, keep=None, inside=None, voxels=None):
    hemispheres = np.ones((2, n_vertices), np.float32)
    path = write_cifti(folder / "image.dscalar.nii", hemispheres, keep, voxels)
    axis = read_axis(path)
    return Mask(axis, np.ones(len(axis), dtype=bool) if inside is None else inside)


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("n_vertices", [642, 2562, 10242])
def test_meshes_are_closed_surfaces_of_their_vertices(n_vertices, side):
    triangles = faces(n_vertices, side)
    assert (np.unique(triangles) == np.arange(n_vertices)).all()
    n_edges = len(edges(triangles))
    assert n_vertices - n_edges + len(triangles) == 2
    degrees = np.bincount(edges(triangles).ravel())
    assert dict(zip(*np.unique(degrees, return_counts=True), strict=True)) == {
        5: 12,
        6: n_vertices - 12,
    }


def test_edges_of_coarser_meshes_are_short():
    """Neighbours on fsaverage3 are near each other on the sphere of the data that nilearn ships."""
    from nilearn.datasets import load_fsaverage

    sphere = load_fsaverage("fsaverage5")["sphere"].parts["left"].coordinates
    lengths = np.linalg.norm(np.diff(sphere[edges(faces(642, "L"))], axis=1)[:, 0], axis=1)
    assert lengths.max() < 1.3 * lengths.min()


def test_no_mesh_for_other_numbers_of_vertices():
    assert faces(4002, "L") is None


def test_a_mask_is_read_back(tmp_path):
    mask = mask_of(tmp_path)
    inside = np.arange(2 * N) % 3 == 0
    Grid(mask.axis).write_mask(inside, tmp_path / "image.dscalar.nii", tmp_path / "m.dscalar.nii")
    found = open_mask(tmp_path / "m.dscalar.nii")
    np.testing.assert_array_equal(found.inside, inside)
    assert found.grid.same_as(mask.grid)


def test_maps_are_read_back_from_cifti_and_from_gifti(tmp_path):
    keep = np.arange(2 * N).reshape(2, N) % 4 > 0
    mask = mask_of(tmp_path, keep=keep)
    inside = np.arange(keep.sum()) % 3 > 0
    mask = Mask(mask.axis, inside)
    W = np.random.default_rng(0).random((inside.sum(), 3)).astype(np.float32)
    path = tmp_path / "components.dscalar.nii"
    mask.write(W, path)
    np.testing.assert_array_equal(mask.masked(path), W)
    assert nb.load(path).header.get_axis(0).name.tolist()[2] == "component03"
    expected = np.zeros((2, N, 3), np.float32)
    rows = np.zeros((keep.sum(), 3), np.float32)
    rows[inside] = W
    expected[keep] = rows
    found = copies(path)
    assert [file.name for file in found.values()] == [
        "hemi-L_components.shape.gii",
        "hemi-R_components.shape.gii",
    ]
    for hemisphere, file in zip(expected, found.values(), strict=True):
        image = nb.load(file)
        np.testing.assert_array_equal(np.stack(image.agg_data(), axis=1), hemisphere)
        assert image.darrays[1].meta["Name"] == "component02"
    assert nb.load(found["hemi-R_"]).meta["AnatomicalStructurePrimary"] == "CortexRight"


def test_labels_have_names_and_colours(tmp_path):
    mask = mask_of(tmp_path)
    labels = (np.arange(2 * N) % 3).astype(np.int16)
    path = tmp_path / "dseg.dlabel.nii"
    mask.write_labels(labels, [(1, 0, 0), (0, 0, 1)], path)
    np.testing.assert_array_equal(mask.masked(path), labels)
    table = nb.load(path).header.get_axis(0).label[0]
    assert table[2] == ("component02", (0, 0, 1, 1))
    assert table[0][1] == (0, 0, 0, 0)
    right = nb.load(copies(path)["hemi-R_"])
    np.testing.assert_array_equal(right.agg_data(), labels[N:])
    assert right.labeltable.get_labels_as_dict()[1] == "component01"
    assert right.labeltable.labels[1].rgba == (1, 0, 0, 1)


def test_the_table_of_labels(tmp_path):
    inside = np.ones(2 * N + 60, dtype=bool)
    inside[:10] = False
    mask = mask_of(tmp_path, inside=inside, voxels=np.ones((3, 4, 5), np.float32))
    W = np.zeros((inside.sum(), 3))
    W[5, 0], W[N, 1], W[-1, 2] = 1, 1, 1
    labels = np.ones(len(W), dtype=np.int16)
    labels[N - 10 :] = 2
    labels[-60:] = 3
    table = mask.label_table(W, labels)
    assert table["n_grayordinates"].tolist() == [N - 10, N, 60]
    assert table["n_left"].tolist() == [N - 10, 0, 0]
    assert table["n_right"].tolist() == [0, N, 0]
    structures = ["left cortex", "right cortex", "thalamus left"]
    assert table["peak_structure"].tolist() == structures
    assert table["peak_vertex"].tolist()[:2] == [15, 10]
    assert table["peak_vertex"].isna().tolist() == [False, False, True]
    assert list(table) == list(mask.label_columns)


def test_symmetry_on_fslr_only(tmp_path):
    rng = np.random.default_rng(0)
    half = rng.random(4002)
    inside = np.ones(2 * 4002, dtype=bool)
    inside[rng.integers(0, len(inside), 100)] = False
    mask = mask_of(tmp_path, 4002, inside=inside)
    assert symmetry(np.concatenate([half, half])[inside, None], mask) == pytest.approx(1)
    assert abs(symmetry(rng.random((2 * 4002, 1))[inside], mask)) < 0.1
    assert np.isnan(symmetry(rng.random((2 * N, 2)), mask_of(tmp_path))).all()


def test_pieces_against_a_graph(tmp_path):
    rng = np.random.default_rng(0)
    inside = rng.random(2 * N + 60) > 0.1
    mask = mask_of(tmp_path, inside=inside, voxels=np.ones((3, 4, 5), np.float32))
    labels = rng.integers(0, 4, inside.sum())
    graph = nx.Graph()
    for shift, side in ((0, "L"), (N, "R")):
        graph.add_edges_from((edges(faces(N, side)) + shift).tolist())
    cells = np.argwhere(np.ones((3, 4, 5)))
    near = (abs(cells[:, None] - cells).max(axis=2) == 1).nonzero()
    graph.add_edges_from(np.stack(near, axis=1) + 2 * N)
    rows = np.flatnonzero(inside)
    expected = [
        nx.number_connected_components(graph.subgraph(rows[labels == part])) for part in (1, 2, 3)
    ]
    assert mask.n_pieces(labels).tolist() == expected


def test_positions_and_hemispheres(tmp_path):
    from nilearn.datasets import load_fsaverage

    inside = np.ones(2 * N + 60, dtype=bool)
    inside[:10] = False
    mask = mask_of(tmp_path, inside=inside, voxels=np.ones((3, 4, 5), np.float32))
    white = load_fsaverage("fsaverage5")["white_matter"].parts
    expected = [white["left"].coordinates[10:N], white["right"].coordinates[:N]]
    expected.append(np.argwhere(np.ones((3, 4, 5))))
    np.testing.assert_allclose(mask.positions(), np.concatenate(expected))
    sides = [-1] * (N - 10) + [1] * N + [0] * 60
    assert mask.hemispheres.tolist() == sides
    assert mask_of(tmp_path, 4002).positions() is None


def test_pieces_are_unknown_without_a_mesh(tmp_path):
    mask = mask_of(tmp_path, 4002)
    labels = np.ones(2 * 4002, dtype=int)
    assert np.isnan(mask.n_pieces(labels)).tolist() == [True]
