"""Names of folders, subjects and columns are names: no markup, no pattern, no command."""

import os
import re

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.cli import main
from opnmf_pipeline.config import InputsConfig, load_config
from opnmf_pipeline.dataset.folder import Dataset
from opnmf_pipeline.exceptions import CohortError, ConfigError, OutputError
from opnmf_pipeline.images.cohort import find_cohort
from opnmf_pipeline.reporting.associations import measure_associations
from opnmf_pipeline.reporting.covariates import choose_covariates
from opnmf_pipeline.reporting.effects import draw_effects, summarize_effects
from opnmf_pipeline.reporting.loadings import draw_loadings
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.tables import read_table
from tests.builders import three_parts, write_cohort

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

HOSTILE = "a[b] [red] <b>x 'y' \"z\" &amp; :smile: *?{k} %s $HOME;#é"
NAMES = (
    HOSTILE,
    *("study [old]", "a[", "b]", "a\nb", "a\\b", "-n", "~", "null", "2024", "x" * 200, "\u202e"),
    "a\x1b[31mb",
)
WORDS = re.compile(r"<(script|style).*?</\1>", re.DOTALL)


def settings(dataset, out, engine="local"):
    pairs = {
        "inputs.bids": dataset,
        "inputs.filters": {"label": "GM"},
        "decomposition.n_components": 2,
        "decomposition.max_iter": 30,
        "report.figures": False,
        "execution.n_procs": 1,
        "execution.engine": engine,
        "output.dir": out,
    }
    return load_config(None, pairs.items())


def test_a_folder_may_have_any_name(tmp_path, capsys):
    write_cohort(tmp_path / HOSTILE / "in", three_parts())
    config = tmp_path / HOSTILE / "config.yaml"
    config.write_text(
        "inputs: {bids: in, filters: {label: GM}}\nreport: {figures: false}\n"
        "decomposition: {n_components: 2, max_iter: 30}\nexecution: {n_procs: 1}\n"
    )
    out = tmp_path / HOSTILE / "out"
    assert main(["run", str(config), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"maps      {out / 'group'}\n" in printed
    assert f"report    {out / 'report.html'}\n" in printed
    page = WORDS.sub("", (out / "report.html").read_text())
    assert "<b>x" not in page


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "nipype", "pydra"])
@pytest.mark.parametrize("name", NAMES)
def test_every_engine_works_in_a_folder_of_any_name(tmp_path, name, engine):
    # a table of paths cannot hold a line break, so a dataset in such a folder is refused
    dataset, out = tmp_path / "in" / name.replace("\n", ""), tmp_path / "out" / name
    write_cohort(dataset, three_parts())
    assert run(settings(dataset, out, engine)).outputs.path("report").exists()
    # a second run finds the results of the first
    assert run(settings(dataset, out, engine)).computed == []


def test_names_of_columns_and_values_are_text(cohort, tmp_path):
    column = HOSTILE.replace("\n", "")
    rows = [f"{subject}\t<i>{n}\t[b]" for n, subject in enumerate(cohort.subjects)]
    text = "\n".join([f"participant_id\t{column}\tsex", *rows]) + "\n"
    (cohort.root / "participants.tsv").write_text(text)
    summary = run(settings(cohort.root, tmp_path / "out"))
    assert (tmp_path / "out" / "participants.tsv").read_text() == text
    page = WORDS.sub("", summary.outputs.path("report").read_text())
    assert "<i>0" not in page


def test_rows_of_participants_are_copied_byte_for_byte(cohort, tmp_path):
    lines = [
        "participant_id\tage\tsite\tnote",
        'sub-01\t89+\t01\tsaid "no"',
        "sub-02\t070\tNA\t ",
        "sub-03\tn/a\tNone\t=1+1",
        "sub-04\t1e3\tTRUE\tné",
        "sub-05\t10:12\t1_0\t'",
        "sub-06\t70.0\tnull\t",
        "sub-99\t1\t2\t3",
    ]
    (cohort.root / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = settings(cohort.root, tmp_path / "out")
    inputs = config.inputs.model_copy(update={"on_missing": "drop"})
    run(config.model_copy(update={"inputs": inputs}))
    written = (tmp_path / "out" / "participants.tsv").read_text(encoding="utf-8")
    assert written.splitlines() == lines[:-1]


def test_labels_with_a_plus_sign(tmp_path):
    cohort = write_cohort(tmp_path / "in", three_parts())
    for number, subject in enumerate(cohort.subjects[:2]):
        old, new = cohort.root / subject, cohort.root / f"{subject}+A{number}"
        old.rename(new)
        for path in new.rglob("*.nii.gz"):
            path.rename(path.with_name(path.name.replace(subject, new.name)))
    (cohort.root / "participants.tsv").unlink()
    summary = run(settings(cohort.root, tmp_path / "out"))
    found = read_table(summary.outputs.path("participants"))["participant_id"]
    assert found.tolist() == ["sub-01+A0", "sub-02+A1", "sub-03", "sub-04", "sub-05", "sub-06"]


@pytest.mark.parametrize(
    "places", [{"folder": "..", "row": "x"}, {"folder": "a", "row": "../../x"}]
)
def test_no_output_leaves_the_folder(tmp_path, places):
    with pytest.raises(OutputError, match="would be outside of"):
        Dataset(tmp_path / "out").path("image_loadings", 2, **places)


@pytest.mark.parametrize("key", ["inputs.bids", "inputs.glob", "output.dir", "execution.work_dir"])
def test_a_path_that_is_not_utf8_is_refused(key):
    other = {} if key.startswith("inputs") else {"inputs.bids": "data"}
    for item in ((key, "M\udcfcller"), f"{key}=M\udcfcller"):
        with pytest.raises(ConfigError, match=rf"{key}: .* is not UTF-8; rename it"):
            load_config(None, [*other.items(), item])


@pytest.mark.parametrize("folder", [True, False])
def test_a_file_of_the_dataset_that_is_not_utf8_is_refused(cohort, folder):
    place = cohort.root if folder else cohort.images[0].parent
    name = os.fsencode(f"{place}/sub-01_desc-M") + b"\xfc_probseg.nii.gz"
    os.makedirs(name) if folder else open(name, "wb").close()  # noqa: PTH103, PTH123
    with pytest.raises(CohortError, match=r"'sub-01_desc-M\\udcfc.*' is not UTF-8; rename it"):
        find_cohort(InputsConfig(bids=cohort.root))


@pytest.mark.parametrize("engine", ["nipype", "pydra"])
def test_a_folder_that_a_batch_script_cannot_hold_is_refused(cohort, tmp_path, engine):
    config = settings(cohort.root, tmp_path / "my out", engine)
    plugin = "SLURM" if engine == "nipype" else "slurm"
    execution = config.execution.model_copy(update={"plugin": plugin})
    with pytest.raises(ConfigError, match=r"execution.work_dir: .*/my out/work: the plugin"):
        run(config.model_copy(update={"execution": execution}))


def test_levels_of_a_covariate_are_no_formula():
    sites = pd.Series([r"$\frac$ 1", r"$x^$ [b] <i>"] * 10, name="site")
    loadings = pd.DataFrame(np.random.default_rng(0).random((20, 2)), columns=["c1", "c2"])
    subjects = [f"sub-{number}" for number in range(20)]
    (covariate,) = choose_covariates(sites.to_frame(), subjects).used
    table = measure_associations(loadings, [covariate], subjects).table
    assert draw_effects(summarize_effects(table)).image
    assert draw_loadings(loadings, sites.to_frame()).image
