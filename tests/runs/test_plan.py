import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.exceptions import OPNMFError, OutputError
from opnmf_pipeline.runs.plan import make_plan
from opnmf_pipeline.stages.memory import fit_bytes
from tests.builders import SHAPE, three_parts, write_cohort

N_SUBJECTS = 16


def test_inputs_are_looked_at_before_the_output_folder(write_config, settings, tmp_path):
    cohort = write_cohort(tmp_path / "dataset", three_parts(N_SUBJECTS))
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("not of a run")
    settings["output"] = {"dir": str(out)}
    settings["inputs"] = {"glob": str(cohort.root / "*.none.nii.gz")}
    with pytest.raises(OPNMFError, match=r"none.nii.gz"):
        make_plan(load_config(write_config(settings)), deep=False)
    settings["inputs"] = {"bids": str(cohort.root)}
    with pytest.raises(OutputError, match=str(out)):
        make_plan(load_config(write_config(settings)), deep=False)


def test_the_plan_of_a_cohort_whose_first_images_differ(write_config, settings, tmp_path):
    """Images from all of the cohort are looked at: the first ones may be of one site."""
    values = three_parts(N_SUBJECTS)
    values[:5, :, :2] = 0  # half of the volume
    cohort = write_cohort(tmp_path / "dataset", values)
    settings["inputs"]["bids"] = str(cohort.root)
    settings["selection"] = {"n_splits": 3, "n_permutations": 2}
    plan = make_plan(load_config(write_config(settings)), deep=True)
    n_voxels = SHAPE[0] * SHAPE[1] * SHAPE[2] - 1  # one is zero in all
    assert plan.n_subjects == N_SUBJECTS
    assert plan.n_voxels == n_voxels
    assert plan.matrix_bytes == 4 * n_voxels * N_SUBJECTS
    assert plan.memory_bytes == fit_bytes(n_voxels, N_SUBJECTS, 3, "float32")
    assert plan.n_fits == 2 * (1 + 2 * 3 + 3 + 2)
    assert plan.grid.spacing == (3, 3, 3)
