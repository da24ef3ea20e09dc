"""Atlases and the results of other programs as models: known means, orders of rows, refusals."""

import pickle

import nibabel as nb
import numpy as np
import pytest
from scipy.io import savemat

from opnmf_pipeline import Model
from opnmf_pipeline.exceptions import ModelError
from tests import surfaces
from tests.builders import AFFINE, write_image

SHAPE = (5, 4, 3)
PLACE = np.indices(SHAPE)
LABELS = np.where(PLACE[0] < 1, 0, np.where(PLACE[1] < 2, 7, 3))
INSIDE = LABELS > 0
IMAGE = np.random.default_rng(0).random(SHAPE).astype(np.float32)
SMOOTH = np.stack([1.0 + PLACE[0], 9.0 - PLACE[0] + 0.1 * PLACE[2]], axis=-1).astype(np.float32)


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "sub-1_T1w.nii.gz", IMAGE, AFFINE)


@pytest.fixture
def mask(tmp_path):
    return write_image(tmp_path / "mask.nii.gz", INSIDE.astype(np.uint8), AFFINE)


def means(model, image):
    (row,) = model.project([image]).to_dict("records")
    return [row[name] for name in model.mean_names]


def test_a_label_image_gives_the_mean_of_each_part(tmp_path, image):
    path = write_image(tmp_path / "atlas.nii.gz", LABELS.astype(np.int16), AFFINE)
    model = Model.load(path)
    assert model.labels == ("label 3", "label 7")
    expected = [IMAGE[label == LABELS].mean() for label in (3, 7)]
    assert means(model, image) == pytest.approx(expected)
    np.testing.assert_allclose(model.W.T @ model.W, np.eye(2), atol=1e-6)
    (tmp_path / "atlas.tsv").write_text("index\tname\n7\tfront\n3\tback\n")
    assert Model.load(path).labels == ("back", "front")


def test_probabilities_give_weighted_means(tmp_path, image):
    weights = np.random.default_rng(1).random((*SHAPE, 3)).astype(np.float32)
    path = write_image(tmp_path / "tpl-MNI152NLin6Asym_probseg.nii.gz", weights, AFFINE)
    model = Model.load(path)
    expected = [np.average(IMAGE, weights=weights[..., j]) for j in range(3)]
    assert means(model, image) == pytest.approx(expected, rel=1e-5)
    assert model.entities == {"space": "MNI152NLin6Asym"}
    assert model.mask.in_standard_space


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["mat", "npz", "npy"])
def test_a_matrix_in_both_orders_of_voxels(tmp_path, mask, image, kind, order):
    rows = np.flatnonzero(INSIDE.ravel(order))
    W = SMOOTH.reshape(-1, 2, order=order)[rows] if order == "C" else np.stack(
        [SMOOTH[..., j].ravel("F")[rows] for j in range(2)], axis=1
    )  # fmt: skip
    path = tmp_path / f"result.{kind}"
    if kind == "mat":
        savemat(path, {"W": W.astype(float), "H": np.ones((2, 9))})
    elif kind == "npz":
        np.savez(path, W=W, H=np.ones((2, 9)))
    else:
        np.save(path, W)
    model = Model.load(path, mask=mask)
    np.testing.assert_array_equal(model.W, SMOOTH[INSIDE])
    assert model.project([image])["component01"][0] == pytest.approx(
        float(SMOOTH[INSIDE][:, 0] @ IMAGE[INSIDE])
    )


def test_matlab_73(tmp_path, mask):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["W"] = SMOOTH[INSIDE].T  # MATLAB writes the axes in its own order
        file["H"] = np.ones(3)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    np.testing.assert_array_equal(Model.load(path, mask=mask).W, SMOOTH[INSIDE])


@pytest.mark.parametrize(
    ("folder", "name"),
    [("NMF/component_2", "component_{}.nii.gz"), (".", "component-{}.nii.gz")],
    ids=["sopnmf", "cobra-nmf"],
)
def test_a_folder_with_one_image_per_component(tmp_path, image, folder, name):
    for number in (0, 1):
        shown = np.where(INSIDE, SMOOTH[..., number], 0)
        count = number if folder == "." else 9 + number  # 10 comes after 9
        write_image(tmp_path / "r" / folder / name.format(count), shown, AFFINE)
    (tmp_path / "r" / folder / "nmf_model.pickle").write_bytes(pickle.dumps(Evil()))
    model = Model.load(tmp_path / "r", 2)
    np.testing.assert_array_equal(model.W, SMOOTH[INSIDE])
    assert not Evil.was_run


def test_a_folder_of_parts_without_weights_is_orthonormal(tmp_path, image):
    """As sopnmf 0.0.4 writes it: the voxels of each part, 0 and 1."""
    for number, label in enumerate((3, 7), start=1):
        part = (label == LABELS).astype(np.float32)
        write_image(tmp_path / "component_2" / f"component_{number}.nii.gz", part, AFFINE)
    model = Model.load(tmp_path / "component_2")
    np.testing.assert_allclose(model.W.T @ model.W, np.eye(2), atol=1e-6)
    assert means(model, image) == pytest.approx([IMAGE[label == LABELS].mean() for label in (3, 7)])


class Evil:
    was_run = False

    def __reduce__(self):
        return setattr, (Evil, "was_run", True)


def test_labels_of_surfaces(tmp_path):
    names = [b"unknown", b"front", b"back"]
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 3, 642) for _ in "LR"]
    for side, labels in zip("lr", values, strict=True):
        colours = np.array([[n, n, n, 0] for n in range(3)])
        nb.freesurfer.write_annot(tmp_path / f"{side}h.parts.annot", labels, colours, names)
    model = Model.load(tmp_path / "lh.parts.annot")
    assert model.labels == ("L front", "L back", "R front", "R back")
    assert len(model.W) == sum((one > 0).sum() for one in values)
    sizes = [(one == label).sum() for one in values for label in (1, 2)]
    np.testing.assert_array_equal((model.W > 0).sum(axis=0), sizes)
    thickness = [rng.random(642).astype(np.float32) for _ in "LR"]
    for side, one in zip("lr", thickness, strict=True):
        surfaces.write_mgh(tmp_path / f"{side}h.thickness.mgh", one)
    expected = [
        t[one == label].mean() for t, one in zip(thickness, values, strict=True) for label in (1, 2)
    ]
    assert means(model, tmp_path / "lh.thickness.mgh") == pytest.approx(expected, rel=1e-5)
    again = Model.load(_copied(model, tmp_path))  # several maps of CIFTI
    np.testing.assert_allclose(again.W, model.W, rtol=1e-6)


def _copied(model, folder):
    model.mask.write(model.W, folder / "copy.dscalar.nii")
    return folder / "copy.dscalar.nii"


def _write(path, values):
    return write_image(path, np.asarray(values, dtype=np.float32), AFFINE)


def _objects(path):
    np.savez(path, W=np.array([{}], dtype=object))
    return path


def _matrix(path, **content):
    np.savez(path, **content)
    return path


W = SMOOTH[INSIDE]


@pytest.mark.parametrize(
    ("make", "masked", "message"),
    [
        (lambda f: _write(f / "a.nii.gz", IMAGE), False, r"a\.nii\.gz: has the value .*no label"),
        (lambda f: _write(f / "a.nii.gz", -IMAGE), False, "has negative values"),
        (lambda f: _write(f / "a.nii.gz", 0 * IMAGE), False, "is zero everywhere"),
        (lambda f: _matrix(f / "a.npz", W=W), False, r"give the mask that .*--mask"),
        (lambda f: _matrix(f / "a.npz", W=W[1:]), True, r"W has 47 rows, but the mask .* has 48"),
        (lambda f: _matrix(f / "a.npz", W=-W), True, "W has negative or missing weights"),
        (lambda f: _matrix(f / "a.npz", H=W), True, "has no matrix named W or B, only H"),
        (lambda f: _matrix(f / "a.npz", W=W[0]), True, r"W has shape \(2,\)"),
        (lambda f: _objects(f / "a.npz"), True, "contains Python objects .* is not opened"),
        (lambda f: f / "a.pickle", False, "are not opened; give the folder with the images"),
        (lambda f: f / "a.rds", False, "are not opened"),
        (lambda f: f / "a.docx", False, r"a\.docx: is no model; give"),
        (lambda f: f / "a.mat", True, "cannot be read as a matrix"),
        (lambda f: f / "b" / "none.nii.gz", False, "no such folder"),
    ],
    ids=["one map", "negative", "zero", "no mask", "rows", "negative W", "no W", "vector",
         "objects", "pickle", "rds", "docx", "damaged", "missing"],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path, mask, make, masked, message):
    path = make(tmp_path)
    if not path.exists() and path.parent == tmp_path:
        path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=message):
        Model.load(path, mask=mask if masked else None)


def test_a_mask_is_for_matrices_only(tmp_path, mask):
    path = write_image(tmp_path / "atlas.nii.gz", LABELS.astype(np.int16), AFFINE)
    with pytest.raises(ModelError, match="has its own grid and mask"):
        Model.load(path, mask=mask)
