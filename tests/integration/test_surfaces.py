"""Runs on surfaces with planted parts: from files of each format to maps and loadings."""

import nibabel as nb
import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import load_fsaverage
from scipy.spatial import KDTree
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.config import (
    DecompositionConfig,
    MaskConfig,
    MatrixConfig,
    OutputConfig,
    load_config,
)
from opnmf_pipeline.engines.seals import Digests
from opnmf_pipeline.exceptions import OPNMFError
from opnmf_pipeline.runs.plan import make_plan
from opnmf_pipeline.runs.project import project
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages.decompose import decompose
from opnmf_pipeline.stages.figures import mesh_files
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.model import Model
from tests.integration.test_run import assert_files
from tests.surfaces import parts_of_sphere, thickness, write_cohort

N, N_SUBJECTS, K = 642, 12, 3
LABELS = parts_of_sphere(N, K, n_outside=40)
VALUES = thickness(LABELS, N_SUBJECTS)
FILTERS = {"suffix": "thickness", "extension": ".shape.gii"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Settings and summary of a finished run on GIFTI files."""
    folder = tmp_path_factory.mktemp("surfaces")
    write_cohort(folder / "data", VALUES)
    settings = folder / "settings.yaml"
    settings.write_text(
        f"inputs: {{bids: {folder / 'data'}, filters: {FILTERS}}}\n"
        f"decomposition: {{n_components: [{K}]}}\n"
        "selection: {n_bootstraps: 2}\n"
        "report: {figures: false}\n"
        f"output: {{dir: {folder / 'out'}}}\n"
        "execution: {n_procs: 1}\n"
    )
    config = load_config(settings, [])
    return config, run(config)


def components_of(folder, images):
    """Return W, from stage to stage."""
    matrix_options = MatrixConfig(nan="zero")
    mask_file = make_mask(images, folder / "mask.dscalar.nii", MaskConfig(), matrix_options)
    names = [f"sub-{n}" for n in range(len(images))]
    matrix_file = build_matrix(images, names, mask_file, folder, matrix_options)
    decompose(matrix_file, folder, K, DecompositionConfig())
    return np.load(folder / "W.npy")


def test_every_format_gives_the_same_components_to_the_bit(tmp_path):
    keep = LABELS > 0
    kinds = {"gifti": None, "mgh": None, "morphometry": None, "cifti": keep}
    found = {}
    for kind, kept in kinds.items():
        folder = tmp_path / kind
        images = write_cohort(folder, VALUES[:6], kind, kept)
        found[kind] = components_of(folder, images)
    assert found["gifti"].shape == (keep.sum(), K)
    for kind in kinds:
        np.testing.assert_array_equal(found[kind], found["gifti"], err_msg=kind)


def test_planted_parts_are_found(finished):
    _, summary = finished
    image = nb.load(summary.outputs.path("dseg", K))
    labels = np.asarray(image.dataobj)[0].reshape(2, N)
    assert adjusted_rand_score(LABELS[LABELS > 0], labels[LABELS > 0]) > 0.95
    assert (labels[LABELS == 0] == 0).all()
    assert summary.metrics["n_pieces"].notna().all()
    assert summary.metrics["symmetry"].isna().all()
    assert (summary.elements, summary.n_voxels) == ("vertices", (LABELS > 0).sum())


def test_the_files_of_a_run(finished):
    config, summary = finished
    assert_files(config.output.dir, "surfaces")
    whole = np.asarray(nb.load(summary.outputs.path("components", K)).dataobj)
    for rows, side in ((slice(0, N), "L"), (slice(N, None), "R")):
        fields = {"part": f"hemi-{side}_", "image": ".shape.gii"}
        path = summary.outputs.path("components", K, **fields)
        np.testing.assert_array_equal(np.stack(nb.load(path).agg_data()), whole[:, rows])


def test_loadings_of_the_subjects_are_found_again(finished, tmp_path):
    config, summary = finished
    output = config.output.model_copy(update={"dir": tmp_path / "projected"})
    project(config.model_copy(update={"output": output}), summary.outputs.root)
    expected = pd.read_csv(summary.outputs.path("loadings", K), sep="\t")
    (path,) = (tmp_path / "projected" / "sub-05").rglob(f"*K{K}_loadings.tsv")
    found = pd.read_csv(path, sep="\t")
    names = expected.columns[1:]
    np.testing.assert_allclose(found.loc[0, names], expected.loc[4, names], rtol=1e-6)


def test_both_files_of_an_image_are_one_image(finished):
    config, summary = finished
    files = sorted((config.inputs.bids / "sub-05").rglob("*.gii"))
    table = Model.load(summary.outputs.root).project(files)
    expected = pd.read_csv(summary.outputs.path("loadings", K), sep="\t")
    names = expected.columns[1:]
    np.testing.assert_allclose(
        table.loc[0, names].astype(float), expected.loc[4, names].astype(float), rtol=1e-6
    )
    assert len(table) == 1


def test_the_plan_of_a_run(finished):
    plan = make_plan(finished[0], deep=True)
    assert str(plan.grid) == "642 (fsaverage3) vertices per hemisphere"
    assert plan.n_voxels == (LABELS > 0).sum()


def test_a_template_mask_is_refused(finished):
    changed = {"mask": MaskConfig(method="template"), "output": OutputConfig()}
    config = finished[0].model_copy(update=changed)
    with pytest.raises(OPNMFError, match="surfaces have no template; use mean, coverage or image"):
        make_plan(config, deep=True)


def test_the_mesh_of_the_pictures(tmp_path):
    left, right = (tmp_path / f"hemi-{side}_midthickness.surf.gii" for side in "LR")
    left.touch()
    with pytest.raises(OPNMFError, match=r"the file of the other hemisphere, .* no such file"):
        mesh_files(left, tmp_path / "mask.dscalar.nii")
    right.touch()
    assert mesh_files(left, tmp_path / "mask.dscalar.nii") == [left, right]
    assert mesh_files(None, tmp_path / "mask.dscalar.nii") == []
    with pytest.raises(OPNMFError, match=r"is not a mesh for these images; .* volumes, remove it"):
        mesh_files(left, tmp_path / "mask.nii.gz")


def changed_right(folder):
    """Write one subject; return the file of the left, and a function that changes the right one."""
    (left,) = write_cohort(folder, VALUES[:1], "mgh")
    right = left.with_name(left.name.replace("lh", "rh"))

    def change():
        right.write_bytes(right.read_bytes()[:-4] + b"\0\0\0\1")

    return str(left), change


def test_every_engine_reads_both_hemispheres_to_know_an_image(tmp_path):
    from pydra.utils.hash import hash_function

    from opnmf_pipeline.nodes.nipype import MakeMask
    from opnmf_pipeline.nodes.pydra import Image
    from opnmf_pipeline.stages.spaces import space_of

    left, change = changed_right(tmp_path)

    def identities():
        files = space_of(left).images.image_files(left)
        return (
            tuple(Digests(tmp_path / "digests.json").of(files)),
            MakeMask(images=[left]).inputs.get_hashval(hash_method="content")[1],
            hash_function(Image(left)),
        )

    before = identities()
    assert identities() == before
    change()
    assert all(old != new for old, new in zip(before, identities(), strict=True))
    assert str(Image(left)) == left


@pytest.mark.slow
def test_planted_parts_on_fsaverage5(tmp_path):
    """Twelve compact parts over both hemispheres, with the medial wall at zero."""
    sphere = load_fsaverage("fsaverage5")["sphere"].parts
    centres = 100 * np.random.default_rng(1).standard_normal((12, 3))
    centres *= 100 / np.linalg.norm(centres, axis=1, keepdims=True)
    parts = [KDTree(centres).query(sphere[s].coordinates)[1] + 1 for s in ("left", "right")]
    labels = np.stack(parts)
    labels[:, :300] = 0
    images = write_cohort(tmp_path, thickness(labels, 60, noise=0.1), "mgh")
    options = MatrixConfig()
    mask_file = make_mask(images, tmp_path / "mask.dscalar.nii", MaskConfig(), options)
    names = [f"sub-{n}" for n in range(len(images))]
    matrix_file = build_matrix(images, names, mask_file, tmp_path, options)
    decompose(matrix_file, tmp_path, 12, DecompositionConfig())
    found = np.load(tmp_path / "W.npy").argmax(axis=1)
    assert adjusted_rand_score(labels[labels > 0], found) >= 0.95
