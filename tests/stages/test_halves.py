"""Agreement of halves from a shared start and from independent starts, on data with known parts."""

import json

import numpy as np
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig, SelectionConfig
from opnmf_pipeline.disk import array_on_disk
from opnmf_pipeline.exceptions import SelectionError
from opnmf_pipeline.stages.halves import fit_halves
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.splits import make_splits
from tests.builders import SHAPE, three_parts, write_cohort

N_SUBJECTS = 16
PUBLISHED = DecompositionConfig(solver="multiplicative", tol=1e-3, dtype="float64")


def one_part():
    """Positive maps that differ between subjects by one factor, and by noise."""
    rng = np.random.default_rng(0)
    sizes = 1 + 0.5 * rng.random((N_SUBJECTS, 1, 1, 1))
    return (sizes + 0.1 * rng.random((N_SUBJECTS, *SHAPE))).astype(np.float32)


def folder_in(parent, name):
    path = parent / name
    path.mkdir()
    return path


def write_split(tmp_path, values):
    """Return the matrix and the split of a cohort with these images."""
    cohort = write_cohort(tmp_path / "dataset", values)
    mask = make_mask(cohort.images, tmp_path / "mask.nii.gz", MaskConfig(), MatrixConfig())
    people, folder = cohort.subjects, folder_in(tmp_path, "matrix")
    matrix = build_matrix(cohort.images, people, mask, folder, MatrixConfig())
    (split,) = make_splits(people, folder_in(tmp_path, "splits"), SelectionConfig(n_splits=1))
    return matrix, split


@pytest.fixture
def agreements(tmp_path):
    """Return a function from images and k to the ARI of two halves, for each kind of start."""

    def agreements(values, k, options):
        matrix, split = write_split(tmp_path, values)
        found = {}
        for kind, shared in (("independent", False), ("shared", True)):
            folder = folder_in(tmp_path, kind)
            path = fit_halves(matrix, folder, k, split, options, shared_start=shared)
            found[kind] = json.loads(path.read_text())["label_ari"]
        return found

    return agreements


def test_planted_parts_agree_from_any_start(agreements):
    options = DecompositionConfig(solver="accelerated", dtype="float64")
    found = agreements(three_parts(N_SUBJECTS), 3, options)
    assert found == {"independent": 1, "shared": 1}


@pytest.mark.parametrize("init", ["nndsvd", "random"])
def test_a_shared_start_divides_one_part_alike_in_both_halves(agreements, init):
    """Four components of data with one part: where it is divided comes from the start alone."""
    found = agreements(one_part(), 4, PUBLISHED.model_copy(update={"init": init}))
    assert found["shared"] > 0.5
    assert found["independent"] < 0.1


@pytest.mark.parametrize("others", [slice(1, -1), slice(1, None)], ids=["fewer", "others"])
def test_a_split_of_other_subjects_is_refused(tmp_path, others):
    matrix, split = write_split(tmp_path, three_parts())
    content = json.loads(split.read_text())
    content["Halves"][1] = [*content["Halves"][1], "sub-new"][others]
    split.write_text(json.dumps(content))
    with pytest.raises(SelectionError, match=r"split-001.json: does not .*matrix.json; .*\n  sub-"):
        fit_halves(matrix, folder_in(tmp_path, "out"), 2, split, DecompositionConfig())


def test_parts_on_the_disk_give_the_same_bytes_and_leave_no_file(tmp_path, monkeypatch):
    matrix, split = write_split(tmp_path, three_parts())
    in_memory, on_disk = (folder_in(tmp_path, name) for name in ("memory", "disk"))
    fit_halves(matrix, in_memory, 3, split, DecompositionConfig())
    made = []

    def noted(shape, dtype, folder):
        made.append(array_on_disk(shape, dtype, folder))
        return made[-1]

    monkeypatch.setattr("opnmf_pipeline.stages.parts.array_on_disk", noted)
    monkeypatch.setattr("opnmf_pipeline.stages.parts.MOST_BYTES", 0)
    fit_halves(matrix, on_disk, 3, split, DecompositionConfig())
    assert [part.shape[1] for part in made] == [len(three_parts()) // 2] * 2
    assert all(part.any() for part in made)
    assert {path.name: path.read_bytes() for path in on_disk.iterdir()} == {
        path.name: path.read_bytes() for path in in_memory.iterdir()
    }
