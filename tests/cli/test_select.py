"""``opnmf-pipeline select``, and the run that follows it."""

import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from opnmf_pipeline.cli import main
from opnmf_pipeline.dataset.folder import FinishedRun
from opnmf_pipeline.exceptions import OutputError
from tests.conftest import ROOT
from tests.features import REGIONS, planted, rows_of, write_csv
from tests.surfaces import write_annot

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


@pytest.fixture
def command(write_config, settings, tmp_path):
    settings["decomposition"] |= {"n_components": 2, "solver": "orthonormal"}
    settings["selection"] = {"candidates": [1, 2, 3], "n_splits": 2, "n_permutations": 1}
    path = write_config(settings)
    return ["select", str(path), "--output", str(tmp_path / "out")]


def group(tmp_path):
    return sorted(path.name for path in (tmp_path / "out" / "group").iterdir())


def test_select_compares_and_writes_no_maps(command, tmp_path, capsys):
    assert main(command) == 0
    printed = capsys.readouterr().out
    choice = json.loads((tmp_path / "out/group/desc-opnmf_selection.json").read_text())
    assert choice["reason"][:30] in printed
    settings = tmp_path / "out" / "logs" / "config.yaml"
    k = f"decomposition.n_components={choice['k']}"
    assert f"To write its maps: opnmf-pipeline run {settings} --set {k}\n" in printed
    assert f" {choice['k']} *" in printed
    table = pd.read_csv(tmp_path / "out/group/desc-opnmf_metrics.tsv", sep="\t")
    assert table["n_components"].tolist() == [1, 2, 3]
    assert not [name for name in group(tmp_path) if "opnmfK" in name]
    assert "tables    " in printed
    assert "maps      " not in printed
    assert f"report    {tmp_path / 'out/report.html'}" in printed
    page = (tmp_path / "out/report.html").read_text()
    assert page.count(choice["reason"].replace("'", "&#39;")) == 1
    assert "empty slice" not in (tmp_path / "out/logs/opnmf-pipeline.log").read_text()
    is_written_again(tmp_path / "out")


@pytest.mark.parametrize("named", [True, False])
def test_select_of_a_table_draws_no_maps_with_and_without_an_atlas(named, tmp_path):
    write_csv(tmp_path / "table.csv", rows_of(planted()))
    settings = {
        "inputs": {"features": "table.csv"},
        "decomposition": {"n_components": 2},
        "selection": {"candidates": [2, 3]},
        "output": {"dir": "out"},
        "execution": {"n_procs": 1},
    }
    if named:
        n = len(REGIONS) // 2
        atlas = write_annot(tmp_path, *[np.arange(642) % n] * 2, [name[3:] for name in REGIONS[:n]])
        settings["report"] = {"atlas": atlas.name}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    assert main(["select", str(tmp_path / "settings.yaml")]) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "A comparison of numbers of components draws no maps, so there is no viewer." in page
    assert "Without an atlas" not in page


def is_written_again(out):
    """The page of a study needs no intermediate results."""
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    shutil.rmtree(out / "work")
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_bytes() == before
    fits = json.loads((out / "logs" / "desc-opnmf_factorizations.json").read_text())
    assert [fit["NumberOfComponents"] for fit in fits.values()] == [1, 2, 3]
    with pytest.raises(OutputError, match="contains no component maps"):
        FinishedRun(out)


def test_the_run_that_it_names_adds_the_maps_and_fits_nothing_again(command, tmp_path, capsys):
    assert main(command) == 0
    study = {name: (tmp_path / "out/group" / name).read_bytes() for name in group(tmp_path)}
    *_, last = (
        capsys.readouterr().out.replace("\n", " ").partition("To write its maps: opnmf-pipeline ")
    )
    assert main(shlex.split(last)) == 0
    printed = capsys.readouterr().out
    computed = [line for line in printed.splitlines() if line.endswith(": computed")]
    assert len(computed) == 4
    assert computed[0].startswith("maps, k = ")
    assert computed[1].startswith("associations, k = ")
    assert computed[2].startswith("reliability, k = ")
    assert computed[3].startswith("report")
    assert [name for name in group(tmp_path) if "components.nii.gz" in name]
    assert {name: (tmp_path / "out/group" / name).read_bytes() for name in study} == study


@pytest.mark.slow
def test_the_run_that_it_names_has_the_settings_of_the_command_line(command, tmp_path, capsys):
    changed = ["--set", "selection.candidates=[2, 3]", "--set", "selection.n_splits=1"]
    elsewhere = ["--work-dir", str(tmp_path / "work elsewhere"), "--engine", "nipype"]
    assert main([*command, *changed, *elsewhere]) == 0
    printed = capsys.readouterr().out
    last = printed.partition("To write its maps: opnmf-pipeline ")[2]
    assert main(shlex.split(last)) == 0
    assert "decompose, k = 2: reused" in capsys.readouterr().out
    assert not (tmp_path / "out/work").exists()


def test_settings_as_shipped_are_enough_and_the_command_works_as_printed(cohort, tmp_path, capsys):
    moved, out = tmp_path / "a cohort's images", tmp_path / "out of it"
    cohort.root.rename(moved)
    quick = ["solver=orthonormal", "n_init=1", "tol=0.1", "n_components=[3, 2]"]
    items = [f"inputs.bids={moved}", *(f"decomposition.{item}" for item in quick)]
    items += ["selection.n_starts=0", "report.figures=false", "execution.n_procs=1"]
    given = [word for item in items for word in ("--set", item)]
    assert main(["select", str(ROOT / "configs" / "vbm.yaml"), *given, "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "selection.n_splits is not set: 10 random split halves are compared" in printed
    assert pd.read_csv(out / "group/desc-opnmf_splits.tsv", sep="\t")["split"].max() == 10
    _, _, command = printed.partition("To write its maps: opnmf-pipeline ")
    assert main(shlex.split(command)) == 0
    assert "select: reused" in capsys.readouterr().out
    assert list((out / "group").glob("*_components.nii.gz"))


def test_numbers_that_were_not_asked_for_are_not_fitted(command, tmp_path, capsys):
    ks = ["--set", "decomposition.n_components=5", "--set", "selection.candidates=[3, 2]"]
    assert main([*command, *ks]) == 0
    printed = capsys.readouterr().out
    assert "k = 3: computed" in printed
    assert "k = 5" not in printed


def test_a_study_leaves_the_maps_and_a_run_leaves_the_study(command, tmp_path, capsys):
    run = ["run", *command[1:], "--quiet", "--set", "decomposition.n_components=4"]
    plain = ["--set", "selection.candidates=[]", "--set", "selection.n_splits=0"]
    plain += ["--set", "selection.n_permutations=0"]
    out = tmp_path / "out" / "group"
    metrics, maps = out / "desc-opnmf_metrics.tsv", "space-MNI152_res-3mm_desc-opnmfK{}_dseg.nii.gz"
    assert main([*run, *plain]) == 0
    assert main([*command, "--quiet"]) == 0
    assert (out / maps.format(4)).exists()
    assert pd.read_csv(metrics, sep="\t")["n_components"].tolist() == [1, 2, 3, 4]
    study = {file.name: file.read_bytes() for file in out.glob("desc-opnmf_s*")}
    assert "desc-opnmf_splits.tsv" in study
    again = [item.replace("n_components=4", "n_components=5") for item in [*run, *plain]]
    assert main(again) == 0
    assert {file.name: file.read_bytes() for file in out.glob("desc-opnmf_s*")} == study
    assert pd.read_csv(metrics, sep="\t")["n_components"].tolist() == [1, 2, 3, 4, 5]
    assert all((out / maps.format(k)).exists() for k in (4, 5))
    assert main(["report", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "k = 4" in page
    assert "k = 5" in page


def test_candidates_are_by_default_the_numbers_with_maps(command, tmp_path):
    overrides = ["--set", "selection.candidates=[]", "--set", "decomposition.n_components=[3, 2]"]
    assert main([*command, *overrides, "--quiet"]) == 0
    table = pd.read_csv(tmp_path / "out/group/desc-opnmf_metrics.tsv", sep="\t")
    assert table["n_components"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            ["selection.n_splits=0", "selection.n_permutations=0"],
            "set n_splits, such as --set selection.n_splits=10",
        ),
        (["selection.candidates=2"], "k = 2 is the only candidate"),
        (["selection.stratify=height"], "selection.stratify: the participants table has no column"),
        (
            ["selection.candidates=[2, 4]"],
            "selection.candidates: 4 is more than 3, the number of subjects of a half",
        ),
        (
            ["selection.n_splits=0", "selection.leave_out=age"],
            "of 6 subjects, the smaller part when age 20 is left out has only one, which is too",
        ),
        (["selection.range=[5, 6]"], "contains none of the numbers of components (1, 2, 3)"),
        (["selection.rule=weighted", "selection.n_splits=1"], "set n_splits to 2 or more"),
        (["selection.leave_out=age"], "replaces random halves"),
    ],
)
def test_what_cannot_be_studied(command, override, message, tmp_path, capsys):
    given = [part for item in override for part in ("--set", item)]
    assert main([*command, *given]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out" / "group").exists()


def test_check_counts_every_fit(command, capsys):
    assert main(["check", *command[1:]]) == 0
    printed = capsys.readouterr().out
    assert "components    2\n" in printed
    assert "to compare    1, 3\n" in printed
    assert "fits to make  27 (orthonormal)" in printed  # 3 numbers: all, 4 halves, 3 starts, 1 null


def test_check_counts_a_fit_for_each_age_and_for_the_others(write_config, settings, capsys):
    settings["decomposition"] = {"n_components": 1}
    settings["selection"] = {"leave_out": "age"}  # six subjects, each of another age
    assert main(["check", str(write_config(settings))]) == 0
    assert "fits to make  16 " in capsys.readouterr().out
