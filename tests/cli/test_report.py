import json
import shutil

import pytest

from opnmf_pipeline.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


@pytest.fixture
def run(write_config, settings, tmp_path):
    """Return a function that runs into ``out`` and returns the registry."""

    def run(*flags, **changes):
        config = write_config(settings | changes)
        assert main(["run", str(config), "-o", str(tmp_path / "out"), "--quiet", *flags]) == 0
        return json.loads((tmp_path / "out" / "logs" / "run.json").read_text())

    return run


def test_the_page_of_a_finished_run_needs_neither_images_nor_intermediate_results(
    run, cohort, tmp_path, capsys
):
    run()
    page = tmp_path / "out" / "report.html"
    before = page.read_bytes()
    page.unlink()
    shutil.rmtree(cohort.root)
    shutil.rmtree(tmp_path / "out" / "work")
    assert main(["report", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert page.read_bytes() == before


@pytest.mark.parametrize("what", ["nothing", "something else", "a run without results"])
def test_a_folder_without_results_is_refused(tmp_path, capsys, what):
    folder = tmp_path / "folder"
    if what != "nothing":
        (folder / "logs").mkdir(parents=True)
        registry = {"Version": "0", "Settings": {}, "Outputs": {}} if "run" in what else []
        (folder / "logs" / "run.json").write_text(json.dumps(registry))
    assert main(["report", str(folder)]) == 2
    assert f"{folder}: contains no results of opnmf-pipeline" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


def test_an_interrupted_report_has_no_stages(run, tmp_path, monkeypatch, capsys):
    def interrupt(output):
        raise KeyboardInterrupt

    run()
    monkeypatch.setattr("opnmf_pipeline.cli.report.write_report", interrupt)
    assert main(["report", str(tmp_path / "out")]) == 4
    assert capsys.readouterr().err.endswith("interrupted; run the same command again\n")


def test_a_folder_that_cannot_be_written(run, tmp_path, monkeypatch, capsys):
    run()
    monkeypatch.setattr("os.access", lambda *args: False)  # also for the superuser
    assert main(["report", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "cannot be written, and the report is a file in it; copy the folder" in message
    assert "--output" not in message


def test_each_run_that_computed_something_is_on_record(run, tmp_path):
    one, two = {"n_components": 2, "max_iter": 100}, {"n_components": [2, 3], "max_iter": 100}
    (first,) = run(decomposition=one)["Runs"]
    assert first["Computed"] == [
        *("mask", "matrix", "decompose, k = 2", "maps, k = 2", "associations, k = 2"),
        *("select", "quality", "report"),
    ]
    assert first["Seconds"] > 0
    assert 50e6 < first["PeakMemoryBytes"] < 100e9
    assert run(decomposition=one)["Runs"] == [first]  # nothing was computed
    again, second = run(decomposition=two)["Runs"]
    assert again == first
    assert second["Computed"] == [
        *("decompose, k = 3", "maps, k = 3", "associations, k = 3", "select", "report")
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count(" UTC</td>") == 2
    changed = run("--overwrite", decomposition=one, mask={"threshold": 0.15})["Runs"]
    assert len(changed) == 1
