import numpy as np
import pytest

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.cohort import find_cohort
from tests.surfaces import write_cohort

N = 12
VALUES = np.ones((3, 2, N), np.float32)
FILTERS = {"suffix": "thickness", "extension": ".shape.gii"}


def cohort_of(**inputs):
    return find_cohort(InputsConfig(**inputs))


def test_bids_finds_one_image_for_two_hemispheres(tmp_path):
    images = write_cohort(tmp_path, VALUES)
    cohort, dropped = cohort_of(bids=tmp_path, filters=FILTERS)
    assert cohort["image"].tolist() == [str(image) for image in images]
    assert cohort["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03"]
    assert dropped == []


@pytest.mark.parametrize("pattern", ["?h.thickness*.mgh", "lh.thickness*.mgh", "rh.thickness*.mgh"])
def test_a_pattern_names_one_or_both_hemispheres(tmp_path, pattern):
    images = write_cohort(tmp_path, VALUES, "mgh")
    cohort, _ = cohort_of(glob=tmp_path / "*" / "surf" / pattern)
    assert cohort["image"].tolist() == [str(image) for image in images]


def test_a_table_names_one_hemisphere(tmp_path):
    images = write_cohort(tmp_path, VALUES, "morphometry")
    rights = [str(image).replace("/lh.", "/rh.") for image in images]
    rows = [f"sub-{n}\t{path}" for n, path in enumerate(rights)]
    (tmp_path / "table.tsv").write_text("\n".join(["participant_id\tpath", *rows]) + "\n")
    cohort, _ = cohort_of(table=tmp_path / "table.tsv")
    assert cohort["image"].tolist() == [str(image) for image in images]


@pytest.mark.parametrize(("missing", "there"), [("R", "L"), ("L", "R")])
def test_one_hemisphere_is_missing(tmp_path, missing, there):
    images = write_cohort(tmp_path, VALUES)
    gone, left = (str(images[1]).replace("hemi-L", f"hemi-{side}") for side in (missing, there))
    type(images[1])(gone).unlink()
    inputs = {"bids": tmp_path, "filters": FILTERS}
    with pytest.raises(CohortError) as error:
        cohort_of(**inputs)
    start = f"1 of 3 subjects have the surface of one hemisphere only, such as {left}: {gone} does"
    assert str(error.value).startswith(start)
    assert str(error.value).endswith("leave these subjects out: sub-02")
    cohort, dropped = cohort_of(**inputs, on_missing="drop")
    assert (cohort["participant_id"].tolist(), dropped) == (["sub-01", "sub-03"], ["sub-02"])


@pytest.mark.parametrize("key", ["hemi", "hemisphere"])
def test_a_filter_of_one_hemisphere_is_refused(tmp_path, key):
    write_cohort(tmp_path, VALUES)
    with pytest.raises(CohortError, match=f"inputs.filters: {key}: R selects one hemisphere"):
        cohort_of(bids=tmp_path, filters={**FILTERS, key: "R"})
    assert len(cohort_of(bids=tmp_path, filters={**FILTERS, key: "*"})[0]) == 3


def test_two_maps_of_a_subject_are_still_refused(tmp_path):
    images = write_cohort(tmp_path, VALUES)
    for side in "LR":
        path = str(images[0]).replace("hemi-L", f"hemi-{side}")
        type(images[0])(path.replace("_space", "_run-1_space")).touch()
    with pytest.raises(CohortError, match=r"1 subject\(s\) have more than one matching image"):
        cohort_of(bids=tmp_path, filters=FILTERS)
