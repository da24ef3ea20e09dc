import numpy as np
import pytest

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images import tables
from opnmf_pipeline.images.hemispheres import hemispheres_of, mirror_pairs
from opnmf_pipeline.images.shape import symmetry
from opnmf_pipeline.images.tables.files import read_features, write_features
from opnmf_pipeline.images.tables.grid import Grid
from opnmf_pipeline.images.tables.mask import Mask

NAMES = ("lh_a", "lh_b", "stem", "rh_a", "rh_b")


def write(path, values, names=NAMES):
    write_features(path, names, {"value": np.asarray(values)})
    return path


def test_values_come_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(0)
    W = (rng.random((5, 3)) * 10.0 ** rng.integers(-30, 30, (5, 3))).astype(np.float32)
    mask = Mask(Grid(NAMES), np.ones(5, dtype=bool))
    mask.write(W, tmp_path / "components.features.tsv")
    np.testing.assert_array_equal(mask.masked(tmp_path / "components.features.tsv"), W)
    found = read_features(tmp_path / "components.features.tsv")
    assert found.columns == ("component01", "component02", "component03")


def test_rows_outside_the_mask_are_zero(tmp_path):
    mask = Mask(Grid(NAMES), np.array([True, False, True, True, False]))
    mask.write(np.array([1.0, 2.0, 3.0]), tmp_path / "mean.features.tsv")
    found = read_features(tmp_path / "mean.features.tsv")
    assert (found.columns, found.values[:, 0].tolist()) == (("mean",), [1, 0, 2, 3, 0])
    mask.grid.write_mask(mask.inside, "", tmp_path / "mask.features.tsv")
    again = tables.open_mask(tmp_path / "mask.features.tsv")
    assert (again.grid.names, again.inside.tolist()) == (NAMES, mask.inside.tolist())


def test_the_order_of_rows_does_not_matter(tmp_path):
    path = write(tmp_path / "a.features.tsv", [1, 2, 3, 4, 5], NAMES[::-1])
    values = Grid(NAMES).read(path, MatrixConfig())
    assert (values.dtype, values.tolist()) == (np.float32, [5, 4, 3, 2, 1])


def test_preprocessing(tmp_path):
    path = write(tmp_path / "a.features.tsv", [np.nan, -1, np.inf, 2, 0])
    read = Grid(NAMES).read
    assert read(path, MatrixConfig(nan="zero")).tolist() == [0, -1, 0, 2, 0]
    assert read(path, MatrixConfig(nan="zero", negative="clip")).tolist() == [0, 0, 0, 2, 0]
    with pytest.raises(ImageError, match=r"matrix.smoothing_fwhm: features have no places"):
        tables.analysis_grid(path, None, MatrixConfig(smoothing_fwhm=2))


def test_other_features_are_refused(tmp_path):
    first = write(tmp_path / "a.features.tsv", [1, 2, 3, 4, 5])
    other = write(tmp_path / "b.features.tsv", [1, 2, 3, 4, 5], (*NAMES[:4], "rh_c"))
    message = r"b.features.tsv: .*: 1 are missing \(rh_b\) and 1 are new \(rh_c\)"
    with pytest.raises(ImageError, match=message):
        tables.check_grids([first, other], first)
    with pytest.raises(ImageError, match=message):
        Grid(NAMES).read(other, MatrixConfig())
    with pytest.raises(ImageError, match=r"mask.image: .*mask.nii is not a table of features"):
        Grid(NAMES).read_mask(tmp_path / "mask.nii")
    (tmp_path / "d.features.tsv").write_text("name\tvalue\nlh_a\t1\nlh_b\n")
    with pytest.raises(ImageError, match=r"d.features.tsv: cannot be read .*line 3 has not 2"):
        read_features(tmp_path / "d.features.tsv")
    (tmp_path / "c.features.tsv").write_text("name\tvalue\nlh_a\tthick\n")
    with pytest.raises(ImageError, match=r"c.features.tsv: cannot be read .*'thick'"):
        read_features(tmp_path / "c.features.tsv")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("lh_insula_thickness", "rh_insula_thickness"),
        ("L_insula_thickavg", "R_insula_thickavg"),
        ("Left-Amygdala", "Right-Amygdala"),
        ("Lthal", "Rthal"),
        ("V1_L", "V1_R"),
        ("LeftV1", "RightV1"),
        ("7Networks_LH_Vis_1", "7Networks_RH_Vis_1"),
    ],
)
def test_hemispheres(left, right):
    assert hemispheres_of([left, "Brain-Stem", right, "Lonely"]).tolist() == [-1, 0, 1, 0]
    pairs = mirror_pairs([left, "Brain-Stem", right, "Lonely"]).tolist()
    # equal numbers of Schaefer's parcels are not the same place
    assert pairs == ([] if "Networks" in left else [[0, 2], [2, 0]])


def test_symmetry_and_the_table_of_the_parts():
    mask = Mask(Grid(NAMES), np.ones(5, dtype=bool))
    W = np.array([[3.0, 0], [0, 2], [0, 1], [3, 0], [0, 2]])
    np.testing.assert_allclose(symmetry(W, mask), [1, 1])
    np.testing.assert_allclose(symmetry(W[[0, 1, 2, 4, 3]], mask), [1, 1])
    W[1, 0] = 3
    assert symmetry(W, mask)[0] < 0.8
    W[1, 0] = 0
    parts = mask.label_table(W, np.array([1, 2, 2, 1, 2], dtype=np.int16))
    assert parts["n_features"].tolist() == [2, 3]
    assert (parts["n_left"].tolist(), parts["n_right"].tolist()) == ([1, 1], [1, 1])
    assert parts["strongest_features"].tolist() == ["lh_a, rh_a", "lh_b, rh_b, stem"]
    assert set(parts) == set(mask.label_columns)
