"""Binary lesion maps: almost all voxels of a subject are zero."""

import numpy as np
import pytest
from nibabel.affines import apply_affine
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.config import load_config
from opnmf_pipeline.images.volumes import Grid
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages.spaces import open_mask
from tests.builders import write_image
from tests.conftest import ROOT

N_TERRITORIES, N_SUBJECTS = 6, 120
EDGE = 8.0


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Lesions with radii of 25 to 45 mm, each within one of six territories; the true label map."""
    folder = tmp_path_factory.mktemp("lesions")
    affine = np.diag([EDGE, EDGE, EDGE, 1])
    affine[:3, 3] = -88, -124, -70
    grid = Grid((23, 28, 23), affine)
    brain = grid.read_brain()
    positions = apply_affine(affine, np.argwhere(brain))
    labels = KMeans(N_TERRITORIES, n_init=1, random_state=0).fit_predict(positions) + 1
    territories = np.zeros(grid.shape, dtype=np.int16)
    territories[brain] = labels
    rng = np.random.default_rng(0)
    for number in range(N_SUBJECTS):
        inside = labels == 1 + number % N_TERRITORIES
        centre, radius = rng.choice(positions[inside]), rng.uniform(25, 45)
        lesion = np.zeros(grid.shape, dtype=np.uint8)
        lesion[brain] = inside & (np.linalg.norm(positions - centre, axis=1) < radius)
        name = f"sub-{number:03d}_label-L_mask.nii.gz"
        write_image(folder / f"sub-{number:03d}" / "anat" / name, lesion, affine)
    description = '{"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}'
    (folder / "dataset_description.json").write_text(description)
    return folder, territories


def test_the_territories_of_lesions_are_found(planted, tmp_path, caplog):
    folder, territories = planted
    overrides = [
        f"inputs.bids={folder}",
        f"output.dir={tmp_path / 'out'}",
        f"decomposition.n_components={N_TERRITORIES}",
        "report.figures=false",
        "execution.n_procs=1",
    ]
    summary = run(load_config(ROOT / "configs" / "lesions.yaml", overrides))
    assert summary.mask == "values > 0 in at least 5 subjects, within the MNI152 brain mask"
    mask = open_mask(summary.outputs.path("mask"))
    found = mask.masked(summary.outputs.path("dseg", N_TERRITORIES))
    truth = territories[mask.inside]
    assert 0.5 < len(truth) / np.count_nonzero(territories) < 0.95
    assert adjusted_rand_score(truth, found) > 0.95
    assert "other units" not in caplog.text
    page = summary.outputs.path("report").read_text()
    for alarm in ("Poor coverage", "of the mask has data in fewer", "Other units", "white matter:"):
        assert alarm not in page
