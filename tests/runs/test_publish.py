"""What a run leaves in its output folder, on a cohort with sessions and covariates."""

import json
from hashlib import sha256

import pandas as pd
import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.reporting.associations import COLUMNS
from opnmf_pipeline.runs.run import run
from tests.builders import NAME, three_parts, write_image

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

ROWS = [(f"sub-{n:02d}", f"ses-{session}") for n in (3, 1, 2) for session in "ab"]


@pytest.fixture
def published(tmp_path, write_config, settings):
    """The output folder of a run on a table in no order."""
    rows = []
    for number, ((subject, session), volume) in enumerate(zip(ROWS, three_parts(), strict=True)):
        name = f"{subject}_{session}_{NAME}"
        write_image(tmp_path / "images" / name, volume)
        known = {"participant_id": subject, "session_id": session, "path": f"images/{name}"}
        rows.append(known | {"age": 20 + number, "sex": "FM"[number // 2 % 2]})
    pd.DataFrame(rows).to_csv(tmp_path / "table.tsv", sep="\t", index=False)
    described = {"sex": {"Description": "as in the passport"}}
    (tmp_path / "table.json").write_text(json.dumps(described))
    settings["inputs"] = {
        "table": str(tmp_path / "table.tsv"),
        "participants": str(tmp_path / "table.tsv"),
    }
    settings["output"] = {"dir": str(tmp_path / "out")}
    run(load_config(write_config(settings)))
    return tmp_path / "out"


def table(path):
    return pd.read_csv(path, sep="\t")


def test_subjects_are_listed_once_with_what_their_sessions_have_in_common(published):
    people = table(published / "participants.tsv")
    assert list(people) == ["participant_id", "sex"]
    assert people["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03"]
    assert people["sex"].tolist() == ["M", "F", "F"]
    described = json.loads((published / "participants.json").read_text())
    assert described["sex"] == {"Description": "as in the passport"}


def test_each_row_has_the_checksum_of_its_image(published):
    cohort = table(published / "logs" / "cohort.tsv")
    assert list(zip(cohort["participant_id"], cohort["session_id"], strict=True)) == sorted(ROWS)
    for path, digest in zip(cohort["image"], cohort["sha256"], strict=True):
        with open(path, "rb") as stream:  # noqa: PTH123
            assert sha256(stream.read()).hexdigest() == digest


def test_each_number_of_components_has_its_own_files(published):
    for k in (2, 3):
        info = json.loads((published / f"logs/desc-opnmfK{k}_factorization.json").read_text())
        assert info["NumberOfComponents"] == k
        loadings = table(published / f"group/desc-opnmfK{k}_loadings.tsv")
        assert loadings.shape == (len(ROWS), 2 + k)


def test_maps_and_loadings_name_the_mask_and_every_image(published):
    group = published / "group"
    for kind in ("components", "loadings"):
        (path,) = group.glob(f"*K2_{kind}.json")
        sources = json.loads(path.read_text())["Sources"]
        images = [source for source in sources if source.endswith(NAME)]
        assert len(images) == len(ROWS)
        assert [source.rsplit("/", 1)[1][:12] for source in images] == [
            "_".join(row) for row in sorted(ROWS)
        ]
    (mask,) = [source for source in sources if source not in images]
    assert mask.endswith("K2_components.nii.gz")
    (labels,) = group.glob("*K2_dseg.json")
    assert json.loads(labels.read_text())["Sources"] == [mask]


def test_associations_name_the_loadings_and_what_is_not_used(published):
    about = json.loads((published / "group/desc-opnmfK2_associations.json").read_text())
    assert about["Sources"] == ["bids::group/desc-opnmfK2_loadings.tsv"]
    assert about["NotUsed"] == dict.fromkeys(
        ["age", "sex"], "3 subjects have a value; 10 are needed"
    )
    assert list(table(published / "group/desc-opnmfK2_associations.tsv")) == list(COLUMNS)


def test_images_of_a_simulated_cohort_are_no_sources(settings, write_config, tmp_path):
    settings["inputs"] = {"simulation": {"n_subjects": 6, "n_components": 2, "voxel_size": 12}}
    settings["output"] = {"dir": str(tmp_path / "out")}
    run(load_config(write_config(settings)))
    (path,) = (tmp_path / "out" / "group").glob("*K2_components.json")
    (mask,) = json.loads(path.read_text())["Sources"]
    assert mask.endswith("desc-opnmf_mask.nii.gz")
