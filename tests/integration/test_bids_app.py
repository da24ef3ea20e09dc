"""The BIDS App as a lab uses it: learn from a group, project subjects, validate the dataset."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from opnmf_pipeline.cli import bids_main, main
from opnmf_pipeline.images.cohort import row_names
from tests import features, surfaces
from tests.builders import AFFINE, NAME, three_parts, write_cohort, write_image
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

KS = (2, 3)


@pytest.fixture
def config_file(write_config):
    return write_config(
        {
            "inputs": {"filters": {"label": "GM", "suffix": "probseg"}},
            "decomposition": {"n_components": list(KS), "max_iter": 100, "tol": 1e-3},
            "report": {"figures": False},
        }
    )


@pytest.fixture
def learned(cohort, config_file, tmp_path):
    """Output folder of a group run on the tiny cohort."""
    out = tmp_path / "out"
    arguments = [cohort.root, out, "group", "--config-file", config_file, "--nprocs", 1, "-q"]
    assert app(*arguments) == 0
    return out


@pytest.fixture
def sessions(tmp_path):
    """Four subjects; the first two have two sessions, the others one."""
    values = three_parts(6, seed=1)
    rows = ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-02_ses-2"]
    rows += ["sub-03_ses-1", "sub-04_ses-1"]
    root = tmp_path / "sessions"
    for row, volume in zip(rows, values, strict=True):
        write_image(root / row.replace("_", "/") / "anat" / f"{row}_{NAME}", volume)
    (root / "participants.tsv").write_text(
        "participant_id\tage\n" + "".join(f"sub-0{n}\t{20 + n}\n" for n in range(1, 5))
    )
    (root / "participants.json").write_text('{"age": {"Description": "Age", "Units": "year"}}')
    (root / "dataset_description.json").write_text('{"Name": "s", "BIDSVersion": "1.10.0"}')
    return root, rows


def app(*arguments):
    return bids_main([str(argument) for argument in arguments])


def loadings(root, subject, k, session=None):
    row = f"{subject}_{session}" if session else subject
    path = root.joinpath(*row.split("_"), "anat", f"{row}_desc-opnmfK{k}_loadings.tsv")
    return pd.read_csv(path, sep="\t"), json.loads(path.with_suffix(".json").read_text())


def group_loadings(root, k):
    return pd.read_csv(root / "group" / f"desc-opnmfK{k}_loadings.tsv", sep="\t")


def content(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "work" not in path.relative_to(root).parts
    }


def assert_projected(root, model, subject, k):
    table, sidecar = loadings(root, subject, k)
    expected = group_loadings(model, k).query("participant_id == @subject")
    loadings_of = expected.columns.drop("participant_id")
    means = [f"{name}_mean" for name in loadings_of]
    last = ["reconstruction_error", "outside_training_range"]
    assert table.columns.tolist() == ["participant_id", *loadings_of, *means, *last]
    assert table["participant_id"].tolist() == [subject]
    np.testing.assert_allclose(table[loadings_of], expected[loadings_of], rtol=1e-6)
    assert not table["outside_training_range"].any()
    assert set(table) <= set(sidecar)


def test_group_writes_what_a_run_writes(learned, cohort, config_file, tmp_path):
    settings = yaml.safe_load(config_file.read_text())
    settings["inputs"]["bids"] = str(cohort.root)
    config_file.write_text(yaml.safe_dump(settings))
    other = tmp_path / "run"
    assert main(["run", str(config_file), "-o", str(other), "--quiet"]) == 0
    one, two = content(learned), content(other)
    for files in (one, two):
        for name in [name for name in files if name.startswith("logs") or name == "report.html"]:
            del files[name]
    assert one == two


def test_projection_into_the_folder_of_the_model(learned, cohort):
    before = content(learned)
    assert app(cohort.root, learned, "participant", "--participant-label", "01", "sub-04") == 0
    for subject in ("sub-01", "sub-04"):
        for k in KS:
            assert_projected(learned, learned, subject, k)
    assert sorted(path.name for path in learned.glob("sub-*")) == ["sub-01", "sub-04"]
    assert {name: content(learned)[name] for name in before} == before
    _, sidecar = loadings(learned, "sub-04", 2)
    assert sidecar["Sources"] == [
        "bids::group/space-MNI152_res-3mm_desc-opnmfK2_components.nii.gz",
        f"bids:input:{cohort.images[3].relative_to(cohort.root)}",
    ]


def test_projection_of_others_on_a_given_model(learned, tmp_path, capsys):
    new = write_cohort(tmp_path / "new", three_parts(4, seed=3))
    out = tmp_path / "projected"
    assert app(new.root, out, "participant", "--model", learned) == 0
    assert "4 images, k = 2, 3" in capsys.readouterr().out
    columns = group_loadings(learned, 3).columns.tolist()
    table, sidecar = loadings(out, "sub-02", 3)
    assert table.columns.tolist()[: len(columns)] == columns
    assert sidecar["Sources"][0].startswith("bids:model:group/")
    described = json.loads((out / "dataset_description.json").read_text())
    links = {"input": new.root.as_uri(), "model": learned.as_uri()}
    assert described["DatasetLinks"] == links
    assert [source["URL"] for source in described["SourceDatasets"]] == list(links.values())


def test_which_filters_count(cohort, write_config, tmp_path, capsys):
    other = cohort.images[0].with_name(cohort.images[0].name.replace("GM", "WM"))
    other.write_bytes(cohort.images[0].read_bytes())
    filters = tmp_path / "gm.json"
    filters.write_text('{"image": {"label": "GM"}}')
    config = write_config({"decomposition": {"n_components": 2, "tol": 1e-3}})
    out = tmp_path / "out"
    group = [cohort.root, out, "group", "--config-file", config, "-q"]
    assert app(*group) == 2  # two images of one subject
    assert "--bids-filter-file" in capsys.readouterr().err
    group += ["--set", "report.figures=false", "--bids-filter-file", filters]
    assert app(*group, "--participant-label", "01", "02", "03") == 0
    arguments = [cohort.root, out, "participant", "-q"]
    assert app(*arguments, "--config-file", config) == 0
    assert len(list(out.glob("sub-*"))) == 6  # not only those that the components come from
    wm = write_config({"inputs": {"filters": {"label": "WM"}}})
    assert app(*arguments, "--config-file", wm) == 2
    assert "5 of 6 subjects have no image" in capsys.readouterr().err


def test_the_folder_of_the_model_by_another_path(learned, cohort, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(learned)
    assert app(cohort.root, link, "participant", "--model", learned, "-q") == 0
    assert loadings(learned, "sub-01", 2)[1]["Sources"][0].startswith("bids::group/")


def test_a_model_is_only_read(learned, cohort, tmp_path):
    before = content(learned)
    for path in (learned, *learned.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        code = app(cohort.root, tmp_path / "p", "participant", "--model", learned, "-q")
    finally:
        for path in (learned, *learned.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert code == 0
    assert content(learned) == before


def test_projecting_again_changes_nothing(learned, cohort):
    arguments = [cohort.root, learned, "participant", "--participant-label", "01", "-q"]
    assert app(*arguments) == 0
    before = content(learned)
    assert app(*arguments) == 0
    assert content(learned) == before


def test_loadings_of_another_image_are_not_replaced(learned, cohort, capsys):
    arguments = [cohort.root, learned, "participant", "--participant-label", "01", "-q"]
    assert app(*arguments) == 0
    before = content(learned)
    cohort.damage(0, cohort.values[0] * 1.5)
    assert app(*arguments) == 2
    message = capsys.readouterr().err
    assert "2 file(s) with loadings on other components or of other images" in message
    assert "--overwrite" in message
    assert content(learned) == before
    assert app(*arguments, "--overwrite") == 0
    expected = group_loadings(learned, 2).iloc[0, 1:].to_numpy(float) * 1.5
    np.testing.assert_allclose(
        loadings(learned, "sub-01", 2)[0].iloc[0, 1:3].tolist(), expected, 1e-6
    )


def test_another_model_removes_the_loadings_on_the_old_one(learned, cohort, config_file):
    assert app(cohort.root, learned, "participant", "-q") == 0
    arguments = [cohort.root, learned, "group", "--config-file", config_file, "-q"]
    assert app(*arguments, "--set", "mask.threshold=0.15", "--overwrite") == 0
    assert [path for path in learned.glob("sub-*/**/*") if path.is_file()] == []


def test_another_grid_is_refused_and_nothing_written(learned, cohort, tmp_path, capsys):
    moved = AFFINE.copy()
    moved[0, 3] += 1.5
    write_image(cohort.images[1], cohort.values[1], affine=moved)
    assert app(cohort.root, learned, "participant", "-q") == 2
    message = capsys.readouterr().err
    assert "1 of 6 images are not on the grid" in message
    assert "pass --resample" in message
    assert not list(learned.glob("sub-*"))
    out = tmp_path / "new"
    arguments = [cohort.root, out, "participant", "--model", learned, "-q"]
    assert app(*arguments) == 2
    assert not out.exists()
    assert app(*arguments, "--resample") == 0
    assert len(list(out.glob("sub-*"))) == 6


def test_one_image_that_cannot_be_used_leaves_the_others(learned, cohort, capsys):
    cohort.damage(1, -cohort.values[1])
    values = cohort.values[2].copy()
    values[2, 2, 2] = np.nan
    cohort.damage(2, values)
    assert app(cohort.root, learned, "participant", "-q") == 2
    message = capsys.readouterr().err
    assert "sub-02: " in message
    assert "sub-03: " in message
    done = sorted(path.parent.parent.name for path in learned.glob("sub-*/anat/*K2_loadings.tsv"))
    assert done == ["sub-01", "sub-04", "sub-05", "sub-06"]


def test_stop_on_first_crash(learned, cohort, capsys):
    cohort.damage(1, -cohort.values[1])
    assert app(cohort.root, learned, "participant", "-q", "--stop-on-first-crash") == 2
    assert "sub-02: " in capsys.readouterr().err
    assert [path.name for path in learned.glob("sub-*")] == ["sub-01"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["participant"],
            "no such folder; give the output folder of a run",
        ),
        (
            ["participant", "--boilerplate-only"],
            "--boilerplate-only applies only to the group level",
        ),
        (
            ["participant", "--resource-monitor"],
            "--resource-monitor applies only to the group level",
        ),
        (["participant", "--use-plugin", "p.yaml"], "one job for each --participant-label"),
        (["group", "--resample"], "--resample applies only to the participant level; at the group"),
        (["group", "--model", "m"], "--model applies only to the participant level"),
        (["group", "--participant-label", "99"], "has no folder of the subjects sub-99"),
    ],
)
def test_what_is_refused(cohort, config_file, tmp_path, capsys, arguments, expected):
    extra = ["--config-file", config_file] if arguments[0] == "group" else []
    out = tmp_path / "out"
    assert app(cohort.root, out, *arguments, *extra) == 2
    message = capsys.readouterr().err
    assert message.startswith("opnmf-bids: error: ")
    assert expected in message
    assert not out.exists()


def test_a_subject_that_does_not_exist_is_named(learned, cohort, capsys):
    assert app(cohort.root, learned, "participant", "--participant-label", "99") == 2
    message = capsys.readouterr().err
    assert f"{cohort.root} has no folder of the subjects sub-99; check the labels" in message
    assert "it has: sub-01, sub-02" in message


def test_a_folder_of_something_else_is_refused(learned, cohort, tmp_path, capsys):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    assert app(cohort.root, foreign, "participant", "--model", learned) == 2
    assert "is not empty and contains no run of opnmf-pipeline" in capsys.readouterr().err
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]


def test_a_dataset_without_description(cohort, config_file, tmp_path, capsys):
    (cohort.root / "dataset_description.json").unlink()
    arguments = [cohort.root, tmp_path / "out", "group", "--config-file", config_file, "-q"]
    assert app(*arguments) == 2
    assert "pass --skip-bids-validation" in capsys.readouterr().err
    assert app(*arguments, "--skip-bids-validation") == 0


def test_boilerplate_of_a_plan_and_of_a_run(cohort, config_file, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [cohort.root, out, "group", "--config-file", config_file]
    assert app(*arguments, "--boilerplate-only") == 0
    planned = capsys.readouterr().out
    assert "One image of each of 6 subjects" in planned
    assert "into 2 and 3 components" in planned
    assert "converged" not in planned
    assert "@article{sotiras2015," in planned
    assert not out.exists()
    assert app(*arguments, "-q") == 0
    capsys.readouterr()
    assert app(*arguments, "--boilerplate-only") == 0
    assert "in the 59 voxels (3 \u00d7 3 \u00d7 3 mm)" in capsys.readouterr().out


def test_resource_monitor(cohort, config_file, tmp_path):
    out = tmp_path / "out"
    arguments = [cohort.root, out, "group", "--config-file", config_file, "-q"]
    assert app(*arguments, "--resource-monitor") == 0
    table = pd.read_csv(out / "logs" / "resources.tsv", sep="\t")
    assert (table["memory"] > 50e6).all()
    assert table["seconds"].is_monotonic_increasing
    assert (table["n_processes"] >= 1).all()
    registry = json.loads((out / "logs" / "run.json").read_text())
    assert {"logs/resources.tsv", "logs/resources.json"} <= set(registry["Outputs"])


def test_sessions(sessions, config_file, tmp_path, capsys):
    root, rows = sessions
    out = tmp_path / "out"
    arguments = [root, out, "group", "--config-file", config_file, "--nprocs", 1]
    assert (
        app(*arguments, "--set", "selection.n_splits=1", "--set", "decomposition.n_components=2")
        == 0
    )
    assert "collect: 6 sessions of 4 subjects" in capsys.readouterr().out
    table = group_loadings(out, 2)
    assert row_names(table) == rows
    people = pd.read_csv(out / "participants.tsv", sep="\t")
    assert people["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert people["age"].tolist() == [21, 22, 23, 24]
    described = json.loads((out / "participants.json").read_text())
    assert described["age"] == {"Description": "Age", "Units": "year"}

    command = [root, out, "participant", "-q", "--participant-label", "01", "--session-label"]
    assert app(*command, "ses-2") == 0
    one, sidecar = loadings(out, "sub-01", 2, "ses-2")
    assert list(out.glob("sub-*/*")) == [out / "sub-01" / "ses-2"]
    np.testing.assert_allclose(one.iloc[0, 2:4].tolist(), table.iloc[1, 2:].tolist(), rtol=1e-6)
    assert sidecar["session_id"]["Description"]


def test_every_table_has_a_side_car(learned, cohort):
    assert app(cohort.root, learned, "participant", "-q") == 0
    tables = [path for path in learned.rglob("*.tsv") if "work" not in path.parts]
    assert len(tables) > 10
    for table in tables:
        described = json.loads(table.with_suffix(".json").read_text())
        columns = pd.read_csv(table, sep="\t").columns
        assert set(columns) <= set(described), table


def problems(dataset):
    """Codes and places of the errors that the BIDS validator finds."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    validator = shutil.which("bids-validator-deno", path=places)
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run(
        [validator, str(dataset), "--format", "json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    return {
        (issue["code"], issue.get("location"))
        for issue in issues
        if issue.get("severity", "error") == "error"
    }


def test_the_validator_finds_no_error(learned, cohort, sessions, config_file, tmp_path):
    assert app(cohort.root, learned, "participant", "-q") == 0
    assert problems(learned) == set()
    projected = tmp_path / "projected"
    given = ["--set", "output.authors=[Ada B, Carl D]", "--set", "output.license=CC0"]
    assert app(sessions[0], projected, "participant", "--model", learned, "-q", *given) == 0
    assert problems(projected) == set()
    described = json.loads((projected / "dataset_description.json").read_text())
    assert (described["Authors"], described["License"]) == (["Ada B", "Carl D"], "CC0")


def levels(dataset, out, config, *arguments):
    """Run both levels of the app on one process, and require that the validator is silent."""
    arguments = [*arguments, "--nprocs", 1, "-q"]
    assert app(dataset, out, "group", "--config-file", config, *arguments) == 0
    assert app(dataset, out, "participant", *arguments) == 0
    assert problems(out) == set()
    expected = group_loadings(out, 3).iloc[1, 1:].astype(float)
    table, _ = loadings(out, "sub-02", 3)
    np.testing.assert_allclose(table.loc[0, expected.index].astype(float), expected, rtol=1e-6)


@pytest.mark.slow
def test_surfaces_with_names_from_an_atlas(tmp_path):
    values = surfaces.thickness(surfaces.parts_of_sphere(642, 3, n_outside=40), 6)
    surfaces.write_cohort(tmp_path / "data", values)
    atlas = surfaces.write_annot(tmp_path)
    config = tmp_path / "settings.yaml"
    config.write_text(
        "inputs: {filters: {suffix: thickness, extension: .shape.gii}}\n"
        f"decomposition: {{n_components: [3]}}\nreport: {{atlas: {atlas}}}\n"
    )
    levels(tmp_path / "data", tmp_path / "out", config)
    parts = pd.read_csv(next((tmp_path / "out/group").glob("*K3_dseg.tsv")), sep="\t")
    assert parts["proposed_name"].str.contains("cuneus|insula").any()


@pytest.mark.slow
def test_a_table_of_phenotypes_on_an_atlas(tmp_path):
    """BIDS_DIR has no images; the covariates are those of its participants.tsv."""
    data, atlas = tmp_path / "data", surfaces.write_annot(tmp_path)
    names = [f"{side}_{name}_thickness" for side in ("lh", "rh") for name in ("cuneus", "insula")]
    (data / "phenotype").mkdir(parents=True)
    values = np.random.default_rng(0).uniform(1, 3, (8, len(names)))
    table = features.rows_of(values, names)
    features.write_csv(data / "phenotype" / "thickness.tsv", table, "\t")
    people = [["participant_id", "age"], *([row[0], 20 + n] for n, row in enumerate(table[1:]))]
    features.write_csv(data / "participants.tsv", people, "\t")
    (data / "dataset_description.json").write_text('{"Name": "t", "BIDSVersion": "1.10.0"}')
    config = tmp_path / "settings.yaml"
    config.write_text(f"decomposition: {{n_components: [3]}}\nreport: {{atlas: {atlas}}}\n")
    source = f"inputs.features={data / 'phenotype' / 'thickness.tsv'}"
    levels(data, tmp_path / "out", config, "--set", source)
    assert "age" in pd.read_csv(tmp_path / "out/participants.tsv", sep="\t")
    assert (tmp_path / "out/group/hemi-R_desc-opnmfK3_dseg.label.gii").exists()


@pytest.mark.slow
def test_each_line_of_bidsignore_is_needed(learned, cohort):
    (learned / "figures").mkdir()  # left out of this run
    (learned / "figures" / "montage.png").touch()
    ignore = learned / ".bidsignore"
    text = ignore.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    needed = set()
    for level in ("group", "participant"):
        if level == "participant":
            ignore.write_text(text)
            assert app(cohort.root, learned, level, "--participant-label", "01", "-q") == 0
        for line in lines:
            ignore.write_text("\n".join(other for other in lines if other != line) + "\n")
            if problems(learned):
                needed.add(line)
    assert needed == set(lines)


@pytest.mark.slow
def test_the_validator_on_the_simulated_example(tmp_path):
    sizes = {"n_subjects": 8, "n_components": 2, "voxel_size": 12}
    command = ["run", str(ROOT / "configs" / "example.yaml"), "-o", str(tmp_path / "out"), "-q"]
    for name, value in sizes.items():
        command += ["--set", f"inputs.simulation.{name}={value}"]
    assert main([*command, "--set", "decomposition.n_components=2"]) == 0
    assert problems(tmp_path / "out") == set()


@pytest.mark.slow
def test_real_maps(test_data, write_config, tmp_path):
    """Components of 162 real maps; projected images have the loadings of the group run."""
    dataset, out = test_data / "mcic-vbm", tmp_path / "out"
    config = write_config(
        {
            "inputs": {"filters": {"label": "GM", "suffix": "probseg"}},
            "decomposition": {"n_components": [5, 10], "solver": "orthonormal", "n_init": 1},
            "report": {"figures": False},
        }
    )
    assert app(dataset, out, "group", "--config-file", config, "-q") == 0
    subjects = ["sub-M52298177", "sub-M02108714"]
    assert app(dataset, out, "participant", "-q", "--participant-label", *subjects) == 0
    for subject in subjects:
        for k in (5, 10):
            assert_projected(out, out, subject, k)
    assert problems(out) == set()
    first = Path(loadings(out, subjects[0], 5)[1]["Sources"][1].removeprefix("bids:input:"))
    assert (dataset / first).is_file()
