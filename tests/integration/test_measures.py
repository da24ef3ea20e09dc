"""Runs with two measures of each subject, from the settings to the report and to new subjects."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from opnmf_pipeline.cli import bids_main, main
from opnmf_pipeline.config import load_config
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.runs.boilerplate import boilerplate
from tests.builders import three_parts, write_cohort, write_image
from tests.features import REGIONS, planted, rows_of, write_csv

N = 14
ENGINES = ["local", "nipype", "pydra"]
QUICK = {
    "decomposition": {"n_components": 3, "solver": "multiplicative", "tol": 1e-2},
    "report": {"figures": False, "covariates": ["age"]},
    "execution": {"n_procs": 1},
}
MEASURES = [
    {"name": "gm", "filters": {"label": "GM", "suffix": "probseg"}},
    {"name": "t1", "filters": {"suffix": "T1w"}},
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset with two images of each subject."""
    folder = tmp_path_factory.mktemp("measures") / "dataset"
    cohort = write_cohort(folder, three_parts(N))
    for subject, values in zip(cohort.subjects, three_parts(N, seed=1), strict=True):
        name = f"{subject}_space-MNI152_res-3mm_T1w.nii.gz"
        write_image(folder / subject / "anat" / name, 2000 + 1000 * values)
    return folder


def settings_of(root, stack="subjects", **sections):
    inputs = {"bids": str(root), "measures": MEASURES}
    return {"inputs": inputs, "matrix": {"measures": {"stack": stack}}, **QUICK, **sections}


@pytest.fixture(scope="module")
def ran(root, tmp_path_factory):
    """The output folder of a run with measures along voxels."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(settings_of(root, "voxels")))
    assert main(["run", str(folder / "config.yaml"), "-o", str(folder / "out"), "--quiet"]) == 0
    return folder / "out"


def test_maps_of_the_measures_have_names_of_their_own(ran):
    names = {path.name for path in (ran / "group").glob("*K3_components*")}
    end = "space-MNI152_res-3mm_desc-opnmfK3_components"
    maps = {f"measure-{name}_{end}.nii.gz" for name in ("gm", "t1")}
    assert names == {*maps, f"{end}.stack.json", f"{end}.json"}
    table = pd.read_csv(ran / "group/desc-opnmfK3_loadings.tsv", sep="\t")
    assert table.shape == (N, 4)
    cohort = pd.read_csv(ran / "logs/cohort.tsv", sep="\t")
    assert {"image_gm", "image_t1", "age", "sha256"} <= set(cohort)
    assert list(pd.read_csv(ran / "participants.tsv", sep="\t")) == ["participant_id", "age"]


def test_the_report_says_how_measures_were_joined(ran):
    page = (ran / "report.html").read_text()
    section = re.search(r'<section id="stack">.*?</section>', page, re.DOTALL)[0]
    assert "joined along voxels: each component has a map for each measure" in section
    centers = [float(text) for text in re.findall(r">([\d.]+)</td>", section)]
    assert any(2000 < center < 3500 for center in centers)
    assert "2 measures (gm and t1) of each of 14 subjects were used" in page
    assert main(["report", str(ran)]) == 0  # from the files of the dataset
    assert (ran / "report.html").read_text().count("measure-gm") == page.count("measure-gm")


@pytest.mark.parametrize("command", ["project", "export", "compare"])
def test_what_needs_one_map_is_refused(ran, root, tmp_path, capsys, command):
    image = next(root.glob("sub-01/anat/*GM*"))
    arguments = {
        "project": [str(ran), str(image), "-o", str(tmp_path / "out")],
        "export": [str(ran), "-o", str(tmp_path / "out"), "--name", "Mine"],
        "compare": [str(ran), "-o", str(tmp_path / "out")],
    }
    assert main([command, *arguments[command]]) == 2
    assert "several measures joined along voxels (gm, t1)" in capsys.readouterr().err


def test_methods_of_a_plan_cite_the_protocol(root, write_config):
    config = load_config(write_config(settings_of(root, selection={"n_splits": 1})))
    text = boilerplate(config)
    assert "joined along subjects (Patel et al., 2020)" in text
    assert "of each of 14 subjects were used" in text
    assert "learned the scales of the measures from their own subjects" in text


def test_measures_on_other_grids_are_refused_before_images_are_read(root, write_config, capsys):
    other = root.parent / "other"
    for number in range(1, N + 1):
        write_image(other / f"sub-{number:02d}.nii", np.ones((4, 4, 3), dtype=np.float32))
    measures = [MEASURES[0], {"name": "fa", "glob": str(other / "*.nii")}]
    settings = settings_of(root) | {"inputs": {"bids": str(root), "measures": measures}}
    assert main(["check", str(write_config(settings))]) == 2
    assert "inputs.measures: gm and fa are on different grids" in capsys.readouterr().err
    settings["matrix"] = {"measures": {"stack": "voxels"}}
    assert main(["check", str(write_config(settings))]) == 0
    assert "gm, fa: joined along voxels, scale: zscore" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        (MEASURES[:1], "lists one measure; name its images in `inputs` directly"),
        ([MEASURES[0], MEASURES[0]], "lists 'gm' twice"),
        ([MEASURES[0], {**MEASURES[1], "name": "T1_w"}], r"measures\.1\.name: string should match"),
        ([MEASURES[0], {**MEASURES[1], "glb": "x"}], r"measures\.1\.glb: unknown key .*'glob'"),
        ([MEASURES[0], {**MEASURES[1], "table": "x", "glob": "y"}], "t1: set exactly one of bids"),
    ],
    ids=["one", "twice", "name", "key", "source"],
)
def test_wrong_settings_name_the_measure(root, write_config, measures, message):
    settings = settings_of(root) | {"inputs": {"bids": str(root), "measures": measures}}
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(settings))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"matrix": {"measures": {}, "covariates": "age"}}, "`measures` cannot be combined with"),
        ({"matrix": {"nan": "masked"}}, "`nan: masked` cannot be combined with `measures`"),
        ({"matrix": {"change": {}}}, "`change` cannot be combined with `measures`"),
        ({"inputs": {"glob": "*.nii"}}, r"matrix\.measures needs inputs\.measures"),
        (
            {"matrix": {"measures": {"stack": "voxels"}}, "report": {"mesh": "lh.inflated"}},
            r"report\.mesh cannot be combined with",
        ),
    ],
    ids=["covariates", "missing", "change", "nothing", "mesh"],
)
def test_combinations_that_are_not_possible(root, write_config, sections, message):
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(settings_of(root) | sections))


def test_negative_values_of_a_measure_name_the_subject(root, write_config, tmp_path, capsys):
    folder = tmp_path / "jacobians"
    for number, values in enumerate(three_parts(N, seed=2), start=1):
        write_image(folder / f"sub-{number:02d}.nii", values - 0.5 * (number == 3))
    measures = [MEASURES[0], {"name": "jac", "glob": str(folder / "*.nii")}]
    settings = settings_of(root) | {"inputs": {"bids": str(root), "measures": measures}}
    config = str(write_config(settings))
    assert main(["check", config, "--deep"]) == 2
    error = capsys.readouterr().err
    assert "sub-03" in error
    assert "negative" in error
    assert main(["check", config, "--deep", "--set", "matrix.negative=shift"]) == 0


def test_tables_are_measures(tmp_path, write_config, capsys):
    for name, end in (("thickness", "thickavg"), ("area", "surfavg")):
        rows = rows_of(planted(), [f"{region}_{end}" for region in REGIONS])
        write_csv(tmp_path / f"{name}.csv", rows)
    measures = [{"name": name, "features": f"{name}.csv"} for name in ("thickness", "area")]
    settings = {"inputs": {"measures": measures}, **QUICK, "report": {"covariates": []}}
    config = str(write_config(settings))
    assert main(["check", config, "--deep"]) == 2
    message = capsys.readouterr().err
    assert "thickness and area have different features" in message
    assert "resample" not in message
    joined = ["--set", "matrix.measures.stack=voxels"]
    assert main(["check", config, "--deep", *joined]) == 0
    found = capsys.readouterr().out
    assert "about 48: a value other than zero in at least one subject" in found


@pytest.mark.slow
@pytest.mark.parametrize("stack", ["subjects", "voxels"])
def test_engines_give_the_same_bytes(root, write_config, tmp_path, stack):
    selection = {"n_splits": 1, "n_bootstraps": 2, "n_starts": 0, "n_null": 2, "stratify": "age"}
    config = str(write_config(settings_of(root, stack, selection=selection)))
    contents = {}
    for engine in ENGINES:
        out = tmp_path / engine
        options = ["--set", f"execution.engine={engine}", "--quiet"]
        assert main(["run", config, "-o", str(out), *options]) == 0
        files = (path for path in (out / "group").iterdir() if path.is_file())
        contents[engine] = {path.name: path.read_bytes() for path in files}
    assert len(contents["local"]) > 20
    assert contents["nipype"] == contents["local"]
    assert contents["pydra"] == contents["local"]


@pytest.mark.slow
def test_the_bids_app_takes_measures_of_its_dataset(root, write_config, tmp_path, capsys):
    settings = settings_of(root)
    settings["inputs"] = {"measures": MEASURES}
    config, out = str(write_config(settings)), tmp_path / "out"
    arguments = [str(root), str(out), "group", "--config-file", config, "--quiet"]
    labels = [f"{number:02d}" for number in range(1, N)]
    assert bids_main([*arguments, "--participant-label", *labels]) == 0
    table = pd.read_csv(out / "group/desc-opnmfK3_loadings.tsv", sep="\t")
    assert table["measure_id"].tolist() == ["gm"] * (N - 1) + ["t1"] * (N - 1)
    model = json.loads(next((out / "group").glob("*model.json")).read_text())
    assert model["Measures"]["Names"] == ["gm", "t1"]
    assert bids_main([str(root), str(out), "participant", "--quiet"]) == 2
    assert "components that several measures share (gm, t1)" in capsys.readouterr().err
