"""`opnmf-pipeline export`: a model that projects the same, a BIDS atlas, files of FreeSurfer."""

import json
import re

import nibabel as nb
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline import Model
from opnmf_pipeline.cli.main import main
from opnmf_pipeline.exceptions import ModelError
from opnmf_pipeline.runs.comparison import named_models
from tests.builders import AFFINE, SHAPE, three_parts, write_image
from tests.integration.test_bids_app import problems
from tests.models import write_parts
from tests.surfaces import write_annot

PLACE = np.indices(SHAPE)
HALVES, THIRDS = 1 + (PLACE[1] >= 2), 1 + PLACE[2]


def export(*arguments):
    return main(["export", *map(str, arguments), "-q"])


@pytest.fixture
def models(tmp_path):
    """Folder with models for two and three components."""
    for labels in (HALVES, THIRDS):
        name = f"k{labels.max()}_model.json"
        write_parts(
            tmp_path / "m", labels, AFFINE, name, Labels=[None, "front", "top"][: labels.max()],
            TrainingErrors=[0.1, 0.2],
        )  # fmt: skip
    return tmp_path / "m"


def test_an_exported_model_projects_as_the_original(models, tmp_path):
    out = tmp_path / "out"
    assert export(models, "-o", out, "--format", "model", "--license", "CC0", "--name", "My") == 0
    assert [path.name for path in out.iterdir()] == ["model"]
    image = write_image(tmp_path / "sub-1_T1w.nii.gz", three_parts(1)[0], AFFINE)
    for k in (2, 3):
        tables = [Model.load(one, k).project([image]) for one in (models, out, out / "model")]
        pd.testing.assert_frame_equal(tables[0], tables[1])
        pd.testing.assert_frame_equal(tables[0], tables[2])
    content = json.loads((out / "model" / "desc-MyK2_model.json").read_text())
    assert (content["License"], content["Name"]) == ("CC0", "My")
    assert "Authors: not given" in (out / "model" / "README.md").read_text()


def test_an_atlas_in_bids(models, tmp_path):
    out = tmp_path / "out"
    credit = ["--authors", "Ada B", "Carl D", "--citation", "doi:10.1/2", "--name", "Planted"]
    assert export(models, "-o", out, "--format", "bids-atlas", *credit) == 0
    atlas = out / "bids-atlas"
    assert not (atlas / ".bidsignore").exists()
    assert problems(atlas) == set()
    stem = atlas / "tpl-MNI152" / "anat" / "tpl-MNI152_atlas-Planted_scale-3_res-3mm"
    first = f"{stem}_dseg.nii.gz".replace("scale-3", "scale-2")
    with pytest.raises(ModelError, match=f"give one of the maps, such as {first}"):
        Model.load(atlas)
    labels = np.asarray(nb.load(f"{stem}_dseg.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, THIRDS)
    shares = np.asarray(nb.load(f"{stem}_probseg.nii.gz").dataobj)
    np.testing.assert_array_equal(shares, np.equal.outer(THIRDS, [1, 2, 3]))
    table = pd.read_csv(f"{stem}_dseg.tsv", sep="\t")
    assert table["name"].tolist() == ["component01", "component02: front", "component03: top"]
    assert set(table) <= set(json.loads((stem.parent / f"{stem.name}_dseg.json").read_text()))
    described = json.loads((atlas / "dataset_description.json").read_text())
    assert described["Authors"] == ["Ada B", "Carl D"]
    assert "License" not in described  # nobody gave one
    # the model has what its run was told, and the atlas takes what is not given from it
    file = models / "k3_model.json"
    told = json.loads(file.read_text()) | {"License": "CC0", "Authors": ["Eva F"]}
    file.write_text(json.dumps(told))
    one = ["-o", tmp_path / "one", "--format", "bids-atlas", "--n-components", 3]
    assert export(models, *one, "--license", "CC-BY-4.0") == 0
    described = json.loads((tmp_path / "one/bids-atlas/dataset_description.json").read_text())
    assert (described["Authors"], described["License"]) == (["Eva F"], "CC-BY-4.0")
    # the atlas is a model again
    again = Model.load(stem.parent / f"{stem.name}_probseg.nii.gz")
    np.testing.assert_array_equal(again.W > 0, Model.load(models, 3).W > 0)


def test_programs_that_read_atlases_find_one_label_map(models, tmp_path):
    """XCP-D and QSIRecon select by these entities, and take the first file that they find."""
    given = ["--name", "Planted3", "--n-components", 3, "--space", "MNI152NLin2009cAsym"]
    assert export(models, "-o", tmp_path / "out", "--format", "bids-atlas", *given) == 0
    wanted = {"tpl": "MNI152NLin2009cAsym", "atlas": "Planted3"}
    found = {}
    for path in (tmp_path / "out/bids-atlas").rglob("*_dseg.*"):
        assert wanted.items() <= dict(re.findall(r"([a-z]+)-([A-Za-z0-9+]+)", path.name)).items()
        assert found.setdefault(path.name.partition(".")[2], path) == path  # only one
    assert set(found) == {"nii.gz", "tsv", "json"}
    assert len({path.name.partition(".")[0] for path in found.values()}) == 1
    table = pd.read_csv(found["tsv"], sep="\t")
    assert {"index", "name"} <= set(table)
    labels = np.unique(np.asarray(nb.load(found["nii.gz"]).dataobj))
    assert table["index"].tolist() == labels[labels > 0].tolist()


@pytest.fixture
def surface(tmp_path):
    """Two parts in each hemisphere of fsaverage3, as the files of FreeSurfer."""
    labels = [np.arange(642) % 3, np.arange(642) % 2 * 2]
    colours = np.array([[n, n, n, 0] for n in range(3)])
    for side, one in zip("lr", labels, strict=True):
        path = tmp_path / f"{side}h.parts.annot"
        nb.freesurfer.write_annot(path, one, colours, ["unknown", "a", "b"])
    return tmp_path / "lh.parts.annot", labels


def test_files_of_freesurfer(surface, tmp_path):
    path, (left, right) = surface
    out = tmp_path / "out"
    assert export(path, "-o", out) == 0  # labels a and b on the left, and b on the right
    assert sorted(one.name for one in out.iterdir()) == ["bids-atlas", "freesurfer", "model"]
    folder = out / "freesurfer"
    labels, colours, names = nb.freesurfer.read_annot(folder / "lh.OPNMF.k3.annot")
    np.testing.assert_array_equal(labels, left)
    assert [name.decode() for name in names] == ["unknown", *(f"component0{n}" for n in (1, 2, 3))]
    assert len({*map(tuple, colours[:, :3])}) == 4
    labels = nb.freesurfer.read_annot(folder / "rh.OPNMF.k3.annot")[0]
    np.testing.assert_array_equal(labels, np.where(right == 2, 3, 0))
    content = (folder / "rh.OPNMF.k3.mgh").read_bytes()
    maps = nb.freesurfer.MGHImage.from_bytes(content).get_fdata()
    assert maps.shape == (642, 1, 1, 3)
    np.testing.assert_allclose((maps**2).sum(axis=0).squeeze(), [0, 0, 1], atol=1e-6)
    assert problems(out / "bids-atlas") == set()
    atlas = out / "bids-atlas/tpl-fsaverage/anat/tpl-fsaverage_atlas-OPNMF_scale-3_den-1k"
    again = Model.load(f"{atlas}_dseg.dlabel.nii")
    np.testing.assert_allclose(again.W, Model.load(path).W, rtol=1e-5)


def test_files_of_freesurfer_are_the_model_that_was_exported(surface, tmp_path):
    _, labels = surface
    path = write_annot(tmp_path, *labels, names=["unknown", "component01", "component02"])
    model, out = Model.load(path), tmp_path / "out"
    np.testing.assert_array_equal((model.W > 0).sum(axis=0), [214, 214 + 321])  # both hemispheres
    assert export(path, "-o", out, "--format", "freesurfer") == 0
    annot = out / "freesurfer/lh.OPNMF.k2.annot"
    again = Model.load(annot)
    assert again.labels == ("component01", "component02")
    np.testing.assert_allclose(again.W, model.W, rtol=1e-5)
    assert [one.name for one in named_models([annot, path])] == ["OPNMF, k = 2", "a, k = 2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "a b"], "letters and digits only"),
        (["--space", "M-N"], "letters and digits only"),
        (["--n-components", "9"], "has no model with 9 components; it has models with 2, 3"),
        (["--format", "freesurfer"], "volumes cannot be written as freesurfer"),
    ],
    ids=["name", "space", "number", "format"],
)
def test_what_cannot_be_exported(models, tmp_path, arguments, message, capsys):
    assert export(models, "-o", tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", [".", "model", "bids-atlas"])
def test_report_says_that_the_folder_is_an_export(models, tmp_path, folder, capsys):
    assert export(models, "-o", tmp_path / "out") == 0
    assert main(["report", str(tmp_path / "out" / folder)]) == 2
    assert "is the output of `opnmf-pipeline export`" in capsys.readouterr().err


def test_a_place_that_cannot_be_written(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda *args: False)  # also for the superuser
    assert export(models, "-o", tmp_path / "new") == 2
    message = capsys.readouterr().err
    assert f"{tmp_path / 'new'}: cannot be written (Permission denied); choose another" in message


def test_a_model_in_an_unknown_space_needs_its_name(tmp_path, capsys):
    affine = AFFINE.copy()
    model = write_parts(tmp_path / "m", HALVES, affine)
    mask = model / "mask2.nii.gz"
    write_image(mask, np.ones(SHAPE, dtype=np.uint8), affine, codes=(2, 2))
    content = json.loads((model / "model.json").read_text())
    from opnmf_pipeline.files import file_digest

    content["SHA256"][mask.name] = file_digest(mask)
    (model / "model.json").write_text(json.dumps(content))
    assert export(model, "-o", tmp_path / "out") == 2
    assert "pass --space" in capsys.readouterr().err
    assert export(model, "-o", tmp_path / "out", "--space", "Study") == 0
    assert (tmp_path / "out/bids-atlas/tpl-Study").is_dir()
    assert export(model, "-o", tmp_path / "out", "--space", "Study") == 2
    assert "is not empty" in capsys.readouterr().err
