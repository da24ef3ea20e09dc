import json

import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.quality import assess_cohort
from opnmf_pipeline.stages.select import select_rank
from opnmf_pipeline.stages.spaces import SPACES, mask_of, open_mask, space_of
from tests.builders import write_image
from tests.models import Fitted

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "a.img", "a.hdr", "a.mgz"])
def test_volumes(name):
    assert space_of(name) is SPACES["volumes"]


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_hemi-L_space-fsaverage_den-10k_thickness.shape.gii",
        "a.func.gii",
        "a.dscalar.nii",
        "lh.thickness",
        "rh.thickness.fwhm10.fsaverage.mgh",
        "lh.area.pial",
        "s12.mesh.thickness.resampled.sub01.gii",
        "100307.L.thickness.32k_fs_LR.shape.gii",
    ],
)
def test_surfaces(name):
    assert space_of(name) is SPACES["surfaces"]


@pytest.mark.parametrize("name", ["lh.a.nii.gz", "sub-1_hemi-L_seg.nii.gz", "pet.nii"])
def test_volumes_of_one_hemisphere(name):
    assert space_of(name) is SPACES["volumes"]


@pytest.mark.parametrize("name", ["thickness", "lh.table.tsv", "a.tsv", "a", "nii.gz"])
def test_a_file_of_no_space_is_refused_by_its_name(name):
    message = rf"{name}: is not an image that can be analysed.*a file name such"
    with pytest.raises(ImageError, match=message):
        space_of(name)


def test_what_a_space_writes_is_an_image_of_it(tmp_path):
    for space in SPACES.values():
        for ending in space.images.ENDINGS.values():
            assert space_of(f"components{ending}") is space


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return Fitted(tmp_path_factory.mktemp("fitted"))


@pytest.fixture
def others(fitted, tmp_path):
    """Masks that are not that of the fits: as many voxels elsewhere, another grid, fewer voxels."""
    image = nb.load(fitted.mask)
    inside, affine = np.asarray(image.dataobj), image.affine
    moved = affine.copy()
    moved[0, 3] += affine[0, 0]
    fewer = inside.copy()
    fewer[tuple(np.argwhere(inside)[0])] = 0
    return {
        "shifted": write_image(tmp_path / "shifted.nii.gz", np.roll(inside, 1, 0), affine),
        "moved": write_image(tmp_path / "moved.nii.gz", inside, moved),
        "fewer": write_image(tmp_path / "fewer.nii.gz", fewer, affine),
    }


@pytest.mark.parametrize("kind", ["shifted", "moved", "fewer"])
def test_the_mask_of_other_rows_is_refused(fitted, others, kind, tmp_path):
    """Without this, maps are shifted and loadings are wrong, and nothing says so."""
    mask, fit = others[kind], fitted.fits[2]
    message = rf"{mask.name}: its \d+ voxels are not the rows of .*{fit.name}; connect the mask"
    for use in (
        lambda: mask_of(mask, fit),
        lambda: write_maps(fit, mask, tmp_path),
        lambda: Model.of_fit(fit, mask),
        lambda: select_rank([fitted.fits[3], fit], tmp_path, mask, draw=False),
    ):
        with pytest.raises(ImageError, match=message):
            use()
    with pytest.raises(ImageError, match=r"are not the rows of .*matrix\.json"):
        assess_cohort(fitted.root / "matrix.json", mask, tmp_path)


def test_the_mask_may_be_in_another_file(fitted, tmp_path):
    copy = tmp_path / "copy.nii"
    image = nb.load(fitted.mask)
    write_image(copy, np.asarray(image.dataobj, dtype=np.float32), image.affine)
    found = mask_of(copy, fitted.root / "matrix.json", *fitted.fits.values())
    assert np.array_equal(found.inside, open_mask(fitted.mask).inside)


def test_only_the_number_of_rows_is_known_of_old_fits(fitted, others, tmp_path):
    about = json.loads(fitted.fits[2].read_text())
    del about["RowsSHA256"]
    old = tmp_path / "factorization.json"
    old.write_text(json.dumps(about))
    mask_of(others["shifted"], old)
    with pytest.raises(ImageError, match=r"fewer\.nii\.gz: its \d+ voxels are not the rows"):
        mask_of(others["fewer"], old)
