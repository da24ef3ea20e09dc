"""``opnmf-pipeline project``: tables and page of new images, and calls that are interrupted."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline import Model
from opnmf_pipeline.cli import main
from opnmf_pipeline.images import projection
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.runs import project as runs
from opnmf_pipeline.runs.projected import _draw, projection_page
from tests.builders import AFFINE, three_parts, write_cohort, write_image
from tests.models import Fitted

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

FILTERS = {"label": ["GM"], "suffix": ["probseg"]}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return Fitted(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def model(fitted):
    """Folder with models for two and three components."""
    folder = fitted.root / "model"
    for k in (2, 3):
        fitted.write(folder, k, name=f"desc-opnmfK{k}_model.json", Filters=FILTERS)
    return folder


@pytest.fixture
def new(tmp_path):
    """Four subjects that the components were not fitted to."""
    return write_cohort(tmp_path / "new", three_parts(4, seed=3))


@pytest.fixture(autouse=True)
def short_page(monkeypatch):
    """Drawing takes seconds."""
    monkeypatch.setattr(runs, "projection_page", lambda *args, **options: "<html></html>")


@pytest.fixture
def whole_page(short_page, monkeypatch):
    """Draw all but the components on the template, which are tested by themselves."""
    monkeypatch.setattr(runs, "projection_page", projection_page)
    monkeypatch.setattr("opnmf_pipeline.runs.projected._draw", lambda model: None)


@pytest.fixture
def read(monkeypatch):
    """Names of the images that were decoded."""
    names, original = [], projection._product

    def product(path, **options):
        names.append(Path(path).name.partition("_")[0])
        return original(path, **options)

    monkeypatch.setattr(projection, "_product", product)
    return names


def project(model, *arguments):
    return main(["project", str(model), *map(str, arguments), "--nprocs", "1", "-q"])


def table(out, k=3):
    return pd.read_csv(out / "group" / f"desc-opnmfK{k}_loadings.tsv", sep="\t")


@pytest.mark.parametrize("kind", ["files", "pattern", "dataset", "settings"])
def test_images_are_named_in_four_ways(model, new, tmp_path, kind, write_config):
    inputs = {"bids": str(new.root), "filters": FILTERS}
    arguments = {
        "files": new.images,
        "pattern": [new.root / "sub-*" / "anat" / "*_probseg.nii.gz"],
        "dataset": [new.root],
        "settings": [write_config({"inputs": inputs})],
    }
    out = tmp_path / "out"
    assert project(model, *arguments[kind], "-o", out, "--n-components", 3) == 0
    expected = Model.load(model, 3).project(new.images)
    found = table(out)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    sidecar = json.loads((out / "group" / "desc-opnmfK3_loadings.json").read_text())
    assert set(found) <= set(sidecar)
    assert sidecar["Sources"] == ["bids:model:k3.nii.gz"]
    assert not list(out.rglob("*K2*"))


def test_component_maps_beside_their_model_are_the_model(model, fitted, new, tmp_path, capsys):
    assert project(model / "k3.nii.gz", *new.images, "-o", tmp_path / "out") == 0
    expected = Model.load(model, 3).project(new.images)
    pd.testing.assert_frame_equal(table(tmp_path / "out"), expected, check_dtype=False)
    measures = {"Names": ["gm", "t1"], "Stack": "subjects", "Scale": "zscore"}
    shared = fitted.write(tmp_path / "shared", Measures=measures)
    (shared / "foreign_model.json").write_text("[]")
    for source in (shared / "k3.nii.gz", shared / "model.json"):
        assert project(source, *new.images, "-o", tmp_path / "no") == 2
        assert "components that several measures share (gm, t1)" in capsys.readouterr().err


def test_one_image_is_counted_in_the_singular(model, new, tmp_path, capsys):
    for _ in range(2):
        assert main(["project", str(model), str(new.images[0]), "-o", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "collect: 1 image\n" in text
    assert "project: projected before: 1 image\n" in text
    assert "\n1 image, k = 2, 3\n" in text


def test_the_page_has_the_numbers(model, fitted, tmp_path, whole_page):
    images = [*fitted.cohort.images[:3], tmp_path / fitted.cohort.images[3].name]
    write_image(images[3], fitted.cohort.values[3][::-1, ::-1])
    out = tmp_path / "out"
    assert project(model, *images, "-o", out) == 0
    (flagged,) = table(out).query("outside_training_range")["participant_id"]
    assert flagged == "sub-04"
    text = (out / "report.html").read_text()
    assert "the error of 1 of 4 images is outside the range of the cohort of the model" in text
    assert f"{table(out)['reconstruction_error'].max():.4g}" in text
    assert "<h2>2 components</h2>" in text
    assert "http" not in text.replace("http-equiv", "")


def test_an_interrupted_call_continues(model, new, tmp_path, read, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert project(model, new.root, "-o", whole) == 0
    read.clear()
    counted = projection._product

    def interrupted(path, **options):
        if len(read) == 2:
            raise KeyboardInterrupt
        return counted(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(projection, "_product", interrupted)
        assert project(model, new.root, "-o", out) == 4
    assert not (out / "group").exists()
    assert project(model, new.root, "-o", out) == 0
    assert read == new.subjects
    for k in (2, 3):
        pd.testing.assert_frame_equal(table(out, k), table(whole, k))
    assert project(model, new.root, "-o", out) == 0
    assert read == new.subjects


def test_an_image_that_has_changed_is_read_again(model, new, tmp_path, read, capsys):
    out = tmp_path / "out"
    assert project(model, new.root, "-o", out) == 0
    before = table(out)
    new.damage(2, 2 * new.values[2])
    read.clear()
    assert project(model, new.root, "-o", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert project(model, new.root, "-o", out, "--overwrite") == 0
    assert read == ["sub-03"]
    ratio = table(out).filter(like="component") / before.filter(like="component")
    np.testing.assert_allclose(ratio.T, [[1, 1, 2, 1]] * len(ratio.T), rtol=1e-6)


def test_coarse_images_are_refused_once_and_leave_nothing(model, new, tmp_path, capsys):
    coarse = AFFINE @ np.diag([1.5, 1.5, 1.5, 1])
    for path, values in zip(new.images, new.values, strict=True):
        write_image(path, values[:4, :3, :2], coarse)
    out = tmp_path / "out"
    assert project(model, new.root, "-o", out) == 2
    message = capsys.readouterr().err
    assert "4 of 4 images are not on the grid of" in message
    assert "voxels of 4.5 x 4.5 x 4.5 mm, not 3 x 3 x 3 mm" in message
    assert "pass --resample" in message
    assert "matrix.resample" not in message
    assert not out.exists()
    assert project(model, new.root, "-o", out, "--resample") == 0
    assert len(table(out)) == 4
    sidecar = next(out.glob("sub-01/anat/*K2*.json"))
    assert json.loads(sidecar.read_text())["Resampling"] is True


def test_one_image_that_cannot_be_used_leaves_the_others(model, new, tmp_path, capsys, whole_page):
    new.damage(1, -new.values[1])
    new.images[2].write_bytes(new.images[2].read_bytes()[:-20])
    out = tmp_path / "out"
    assert project(model, new.root, "-o", out) == 2
    message = capsys.readouterr().err
    assert "2 of 4 subjects cannot be projected" in message
    assert "the model defines the preprocessing" in message
    assert table(out)["participant_id"].tolist() == ["sub-01", "sub-04"]
    assert "2 of 4 subjects cannot be projected:<br>  sub-02: " in (out / "report.html").read_text()


def test_images_in_other_units_are_named(model, new, tmp_path, caplog, whole_page):
    sentence = "in other units than those of the cohort of the model"
    assert project(model, new.root, "-o", tmp_path / "same") == 0
    assert sentence not in caplog.text + (tmp_path / "same/report.html").read_text()
    new.damage(1, 255 * new.values[1])
    new.damage(2, new.values[2] / 100)
    assert project(model, new.root, "-o", tmp_path / "other") == 0
    assert f"the values of 2 of 4 images are {sentence}" in caplog.text
    page = (tmp_path / "other/report.html").read_text()
    found = re.search(rf"2 of 4 images are {sentence}: sub-02 (\S+), sub-03 (\S+) times", page)
    ratio = float(found[1]) / float(found[2])
    same = np.linalg.norm(new.values[1]) / np.linalg.norm(new.values[2])
    assert ratio == pytest.approx(25500 * same, rel=0.1)


def test_report_says_that_the_folder_is_a_projection(model, new, tmp_path, capsys):
    out = tmp_path / "out"
    assert project(model, new.root, "-o", out) == 0
    assert main(["report", str(out)]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"{out}: is the output of `opnmf-pipeline project`" in message
    assert f"its report is {out}/report.html; to write it again, repeat `project`" in message
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 2
    assert "loadings of single images" in capsys.readouterr().err


def test_a_simulated_cohort_has_no_images(model, tmp_path, write_config, capsys):
    config = write_config({"inputs": {"simulation": {"n_subjects": 6}}})
    assert project(model, config, "-o", tmp_path / "out") == 2
    assert "inputs.simulation: a projection needs images in files" in capsys.readouterr().err


def test_the_folder_of_a_run_is_not_written(model, new, tmp_path, capsys):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "run.json").write_text("{}")
    name = {"GeneratedBy": [{"Name": "opnmf-pipeline"}]}
    (tmp_path / "dataset_description.json").write_text(json.dumps(name))
    assert project(model, new.root, "-o", tmp_path) == 2
    assert "contains a run, whose tables and report would be replaced" in capsys.readouterr().err


def test_pictures_of_the_components(model, monkeypatch):
    drawn = []

    class Pictures:
        VIEWS = "from above"

        def template_image(self):
            return "template"

        def draw_components(self, file, titles, background, out_file):
            drawn.append((file.name, titles, background))
            out_file.write_bytes(b"png")

    space = type("Space", (), {"pictures": Pictures()})
    monkeypatch.setattr("opnmf_pipeline.runs.projected.space_of", lambda path: space)
    figure = _draw(Model.load(model, 3))
    assert isinstance(figure, Figure)
    assert figure.image == b"png"
    titles = ["component 1: left", "component 2", "component 3"]
    assert drawn == [("k3.nii.gz", titles, "template")]
