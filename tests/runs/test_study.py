"""What a run starts from: which settings make it another run, and the names of its maps."""

from pathlib import Path

import pytest

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.runs.study import (
    Study,
    determining_settings,
    drawn_on_template,
    shown_settings,
    work_dir,
)

BASE = {"inputs": {"bids": "/data"}, "output": {"dir": "/out"}}
IMAGES = [f"/data/sub-{n}/anat/sub-{n}_space-MNI152_res-3mm_probseg.nii.gz" for n in (1, 2)]


def config(**sections):
    return PipelineConfig.model_validate(BASE | sections)


def study(people=("sub-1", "sub-2"), images=IMAGES, **sections):
    return Study(config(**sections), Path("cohort.tsv"), images, list(people), 0, None)


@pytest.mark.parametrize(
    "section",
    [
        {"execution": {"n_procs": 3, "engine": "pydra", "work_dir": "/w"}},
        {"report": {"figures": False, "covariates": ["age"]}},
        {"output": {"dir": "/elsewhere", "overwrite": True}},
        {"output": {"dir": "/out", "authors": ["Ada B"], "license": "CC0"}},
        {"inputs": {"bids": "/data", "database_dir": "/index"}},
    ],
)
def test_what_does_not_change_results_does_not_make_another_run(section):
    assert determining_settings(config(**section)) == determining_settings(config())


@pytest.mark.parametrize(
    "section",
    [
        {"inputs": {"bids": "/other"}},
        {"inputs": {"bids": "/data", "filters": {"label": "GM"}}},
        {"mask": {"threshold": 0.15}},
        {"matrix": {"smoothing_fwhm": 4}},
        {"decomposition": {"tol": 1e-3}},
        {"selection": {"n_splits": 2}},
        {"output": {"dir": "/out", "space": "MNI"}},
    ],
)
def test_what_changes_results_makes_another_run(section):
    assert determining_settings(config(**section)) != determining_settings(config())


def test_the_page_shows_the_engine_but_no_places():
    shown = shown_settings(config(execution={"engine": "nipype", "n_procs": 3}).settings())
    assert shown["execution"] == {"engine": "nipype"}
    assert "dir" not in shown["output"]
    assert shown["report"] == config().settings()["report"]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, "space-MNI152_res-3mm_"),
        ({"output": {"dir": "/out", "space": "mine"}}, "space-mine_res-3mm_"),
        ({"matrix": {"voxel_size": 6}}, "space-MNI152_"),
        ({"matrix": {"resample": "to-first"}}, "space-MNI152_"),
    ],
)
def test_maps_are_named_after_the_grid_that_they_are_on(sections, expected):
    assert study(**sections).space == expected


def test_images_of_two_spaces_have_none_in_common():
    other = IMAGES[1].replace("MNI152", "own")
    assert study(images=[IMAGES[0], other]).space == "res-3mm_"


def test_what_the_rows_are():
    assert study().what == "subjects"
    assert study(["sub-1_ses-a", "sub-1_ses-b", "sub-2"]).what == "sessions of 2 subjects"


@pytest.mark.parametrize(
    ("background", "space", "recognized", "expected"),
    [
        ("auto", "space-MNI152_res-3mm_", False, True),
        ("auto", "space-own_", True, False),
        ("auto", "res-3mm_", False, False),
        ("auto", "res-3mm_", True, True),
        ("template", "space-own_", False, True),
        ("mean", "space-MNI152_", True, False),
    ],
)
def test_where_maps_are_drawn(background, space, recognized, expected):
    assert drawn_on_template(background, space, in_standard_space=recognized) is expected


def test_intermediate_results_are_in_the_output_unless_they_have_a_folder():
    assert work_dir(config()) == Path("/out/work")
    assert work_dir(config(execution={"work_dir": "/w"})) == Path("/w")


def test_the_output_folder_cannot_be_the_work_folder():
    with pytest.raises(ConfigError, match=r"execution.work_dir: /out/\.\./out is the output"):
        work_dir(config(execution={"work_dir": "/out/../out"}))
