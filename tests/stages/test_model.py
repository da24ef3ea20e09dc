"""A model that another lab sent: what it gives for known images, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline import Model
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import CohortError, ImageError, ModelError
from opnmf_pipeline.runs.projected import columns_of
from opnmf_pipeline.stages.decompose import read_factorization
from opnmf_pipeline.stages.models import load_models
from tests.builders import AFFINE, NAME, SHAPE, three_parts, write_image
from tests.models import Fitted

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

K = 3
NAMES = ["component01", "component02", "component03"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return Fitted(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def model(fitted):
    return Model.load(fitted.write(fitted.root / "model"))


def image(tmp_path, values, name=f"sub-x_{NAME}", affine=AFFINE, **options):
    return write_image(tmp_path / name, np.asarray(values, dtype=np.float32), affine, **options)


def test_the_images_of_the_fit_get_their_loadings(fitted, model):
    table = model.project(fitted.cohort.images).set_index("participant_id")
    assert table.index.tolist() == fitted.cohort.subjects
    H = read_factorization(fitted.fits[K]).H
    np.testing.assert_allclose(table[NAMES].T, H, rtol=1e-6)
    assert not table["outside_training_range"].any()
    errors = np.sort(table["reconstruction_error"])  # their squares have a rounding error of 1e-7
    np.testing.assert_allclose(errors**2, model.training_errors**2, rtol=0, atol=1e-6)


def test_means_and_errors_are_those_of_their_definition(model, tmp_path):
    values = three_parts(1, seed=7)[0]
    (row,) = model.project([image(tmp_path, values)]).to_dict("records")
    x, W = values[model.mask.inside].astype(float), np.asarray(model.W, dtype=float)
    h = [sum(w * x) for w in W.T]
    np.testing.assert_allclose([row[name] for name in NAMES], h, rtol=1e-6)
    means = [np.average(x, weights=w) for w in W.T]
    np.testing.assert_allclose([row[f"{name}_mean"] for name in NAMES], means, rtol=1e-6)
    error = np.sqrt(((x - W @ h) ** 2).sum()) / np.sqrt((x**2).sum())
    assert row["reconstruction_error"] == pytest.approx(error, rel=1e-5)


def test_a_constant_image_has_its_value_as_mean_also_after_a_shift(tmp_path):
    fitted = Fitted(tmp_path / "f", MatrixConfig(negative="shift"))
    shifted = Model.load(fitted.write(tmp_path / "m", Shift=-0.5))
    constant = image(tmp_path, np.full(SHAPE, 0.25))
    (row,) = shifted.project([constant]).to_dict("records")
    assert [row[f"{name}_mean"] for name in NAMES] == pytest.approx([0.25] * K)
    sums = np.asarray(shifted.W, dtype=float).sum(axis=0)
    assert [row[name] for name in NAMES] == pytest.approx(list(0.75 * sums))


@pytest.mark.parametrize(
    ("change", "outside"), [(lambda x: x[::-1, ::-1], True), (lambda x: 3 * x, False)],
    ids=["mirrored", "scaled"],
)  # fmt: skip
def test_an_image_that_the_components_do_not_describe_is_flagged(
    fitted, model, tmp_path, change, outside
):
    path = image(tmp_path, change(fitted.cohort.values[0]))
    assert model.project([path])["outside_training_range"].tolist() == [outside]


def test_images_in_other_units_are_a_warning(fitted, model, tmp_path, caplog):
    assert model.other_units(model.project(fitted.cohort.images)) == {}
    assert caplog.messages == []
    paths = [fitted.cohort.images[1], image(tmp_path, 50 * fitted.cohort.values[0])]
    table = model.project(paths)
    (message,) = caplog.messages
    assert "the values of 1 of 2 images are in other units" in message
    norm = 50 * np.linalg.norm(fitted.cohort.values[0][model.mask.inside])
    found = list(model.other_units(table).values())
    assert found == pytest.approx([norm / model.training_norms[1]], rel=1e-4)


@pytest.mark.parametrize("norms", [[0.1, 1.0, 30.0], None], ids=["of lesions", "unknown"])
def test_images_of_very_different_size_as_in_the_cohort_are_no_warning(
    fitted, tmp_path, caplog, norms
):
    model = Model.load(fitted.write(tmp_path / "m", TrainingNorms=norms))
    x = fitted.cohort.values[0]
    size = np.linalg.norm(x[model.mask.inside])
    paths = [
        image(tmp_path, norm / size * x, f"sub-{n}_{NAME}") for n, norm in enumerate((0.04, 1, 80))
    ]
    model.project(paths)
    assert caplog.messages == []


def test_a_model_without_errors_of_its_cohort_flags_nothing(fitted, tmp_path):
    model = Model.load(fitted.write(tmp_path / "m", TrainingErrors=None))
    table = model.project(fitted.cohort.images[:1])
    assert list(table)[-1] == "reconstruction_error"
    assert set(table) - {"participant_id"} == set(columns_of(model))


def test_components_as_an_image(model):
    values = np.asarray(model.components_img.dataobj)
    np.testing.assert_array_equal(values[model.mask.inside], model.W)
    assert values.shape == (*SHAPE, K)
    assert not values[~model.mask.inside].any()


def test_a_model_is_shown_in_one_line(model):
    shown = f"Model(n_components=3, n_rows={len(model.W)}, source={str(model.components_file)!r})"
    assert repr(model) == shown


def test_columns_are_labelled(model):
    described = columns_of(model)
    assert described["component01"]["Description"].startswith("Loading on component01 (left)")
    assert "weighted by component02," in described["component02_mean"]["Description"]


def test_names_of_images(fitted, model, tmp_path):
    first, second = fitted.cohort.values[:2]
    paths = [
        image(tmp_path / n, v, "gm.nii.gz") for n, v in zip("ab", (first, second), strict=True)
    ]
    with pytest.raises(CohortError, match="two images have the same name 'sub-gm'"):
        model.project(paths)
    assert model.project(paths, ["sub-7", "sub-8"])["participant_id"].tolist() == ["sub-7", "sub-8"]
    visits = [image(tmp_path, first, f"sub-1_ses-{n}_{NAME}") for n in (1, 2)]
    assert model.project(visits)["session_id"].tolist() == ["ses-1", "ses-2"]
    with pytest.raises(CohortError, match=r"1 of 2 images cannot be found:\n  .*no\.nii: no such"):
        model.project([visits[0], tmp_path / "no.nii"])


def test_a_folder_with_several_models(fitted, tmp_path):
    for k in (2, K):
        fitted.write(tmp_path, k, name=f"k{k}_model.json")
    with pytest.raises(ModelError, match=r"has models with 2, 3 components; .*n_components=2"):
        Model.load(tmp_path)
    assert Model.load(tmp_path, 2).n_components == 2
    with pytest.raises(ModelError, match="has no model with 9 components; it has models with 2, 3"):
        Model.load(tmp_path, 9)
    assert [one.n_components for one in load_models(tmp_path)] == [2, 3]
    fitted.write(tmp_path, 2, name="k2_model.json", Shift=-1.0)
    with pytest.raises(ModelError, match="the models with 2 and with 3 components have another"):
        load_models(tmp_path)


def shortened(folder):
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text[: len(text) // 2])


def changed(folder):
    with (folder / "k3.nii.gz").open("ab") as stream:
        stream.write(b"0")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shortened, r"model\.json: cannot be read as JSON .*incomplete or damaged: copy the model"),
        (changed, r"k3\.nii\.gz: has changed since the model was written \(its SHA-256 differs\)"),
        (lambda folder: (folder / "mask.nii.gz").unlink(), r"mask\.nii\.gz: no such file"),
        (lambda folder: (folder / "model.json").unlink(), "contains no model; give the output fol"),
        (lambda folder: (folder / "model.json").write_text("[]"), "contains no JSON object"),
    ],
    ids=["truncated", "other hash", "no mask", "no model", "a list"],
)
def test_damaged_models(fitted, tmp_path, damage, message):
    damage(fitted.write(tmp_path))
    with pytest.raises(ModelError, match=message):
        Model.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Format": 2}, r"opnmf-pipeline 9\.0 wrote this model in format 2; .* install a newer"),
        ({"Preprocessing": {"warp": 1}}, r"settings that version \S+ does not have \(warp\)"),
        ({"Adjustment": "a.json"}, r"a\.(json|npz): no such file; .* model\.json needs it"),
        ({"Components": None}, r"keys are missing or have invalid values \(Components\)"),
        ({"Mask": "../mask.nii.gz"}, r"invalid values \(Mask\)"),
        ({"NumberOfComponents": 4}, r"k3\.nii\.gz: has 3 maps, but .* has 4 components"),
    ],
    ids=["newer", "setting", "adjusted", "incomplete", "outside", "number"],
)
def test_models_that_cannot_be_used(fitted, tmp_path, changes, message):
    fitted.write(tmp_path, **changes)
    with pytest.raises(ModelError, match=message):
        Model.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sub-x_space-MNI152_label-WM_probseg.nii.gz", r"label-GM\):\n .*label-WM\n"),
        ("sub-x_space-MNI152_label-GM_thickness.nii.gz", r"suffix-probseg\):\n .*suffix-thick"),
        ("sub-x_space-T1w_label-GM_probseg.nii.gz", r"space of the model \(MNI152\):\n .*T1w"),
    ],
    ids=["label", "suffix", "space"],
)  # fmt: skip
def test_images_of_something_else(fitted, model, tmp_path, name, message):
    other = image(tmp_path, fitted.cohort.values[0], name)
    with pytest.raises(ImageError, match=message):
        model.project([fitted.cohort.images[0], other])


def test_surfaces_are_not_volumes(model, tmp_path):
    surface = tmp_path / "sub-x_thickness.dscalar.nii"
    surface.touch()
    with pytest.raises(ImageError, match=r"1 of 1 images are surfaces, but the .* are volumes"):
        model.project([surface])


def test_images_that_were_made_in_another_way_are_named(fitted, tmp_path, caplog):
    entities = {"label": "GM", "desc": "smooth"}
    model = Model.load(fitted.write(tmp_path / "m", Entities=entities))
    paths = [
        image(tmp_path, fitted.cohort.values[0], f"sub-{n}_label-GM_{desc}probseg.nii.gz")
        for n, desc in enumerate(("", "desc-smooth_", "desc-sharp_"))
    ]
    with caplog.at_level("WARNING", logger="opnmf_pipeline"):
        assert len(model.project(paths)) == 3
    assert "1 of 3 images" in caplog.text
    assert "have desc-sharp in their names" in caplog.text


def test_another_release_of_the_template_is_accepted_with_a_warning(fitted, tmp_path, caplog):
    entities = {"space": "MNI152NLin6Asym"}
    model = Model.load(fitted.write(tmp_path / "m", Entities=entities))
    name = "sub-x_space-MNI152NLin2009cAsym_label-GM_probseg.nii.gz"
    with caplog.at_level("WARNING", logger="opnmf_pipeline"):
        model.project([image(tmp_path, fitted.cohort.values[0], name)])
    assert "releases of one template differ by a few millimetres" in caplog.text


def test_an_image_that_does_not_overlap(fitted, model, tmp_path):
    values = fitted.cohort.values[0] * 0
    values[0, 0, 0] = 1  # outside of the mask
    with pytest.raises(ImageError, match=r"sub-x: .*zero everywhere .*\n.*does not overlap"):
        model.project([image(tmp_path, values)])


FINER = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
FINER[:3, 3] -= AFFINE[:3, :3] @ np.full(3, 0.25)


class TestAnotherGrid:
    """Images with half the voxel size, in the same field of view."""

    @pytest.fixture
    def finer(self, fitted, tmp_path):
        blocks = np.kron(fitted.cohort.values[0], np.ones((2, 2, 2)))
        return lambda **options: image(tmp_path, blocks, affine=FINER, **options)

    def test_is_refused_with_the_argument_that_helps(self, model, finer):
        expected = r"\(5, 4, 3\), voxels 3 x 3 x 3 mm.*\n.*voxels of 1\.5 x .*\n.*--resample"
        with pytest.raises(ImageError, match=expected):
            model.project([finer()])

    def test_is_resampled_as_in_a_run(self, model, finer):
        path = finer()
        values = model.mask.grid.read(path, MatrixConfig(resample="to-first"))
        expected = values[model.mask.inside].astype(float) @ np.asarray(model.W, dtype=float)
        table = model.project([path], resample=True)
        np.testing.assert_allclose(table[NAMES].iloc[0], expected, rtol=1e-6)

    def test_must_be_in_a_space_that_is_known(self, fitted, model, finer, tmp_path):
        path = finer(name="x.nii.gz", codes=(1, 1))
        with pytest.raises(ImageError, match=r"space of the model \(MNI152\):\n .*space unknown"):
            model.project([path], resample=True)
        same = image(tmp_path, fitted.cohort.values[0], "y.nii.gz", codes=(1, 1))
        assert len(model.project([same])) == 1  # on the grid of the model


def test_of_a_fit_in_a_work_folder(fitted, model):
    other = Model.of_fit(fitted.fits[K], fitted.mask)
    images = fitted.cohort.images[:2]
    pd.testing.assert_frame_equal(other.project(images), model.project(images))


def test_the_file_of_a_model_has_no_identifiers(fitted):
    content = json.dumps(json.loads((fitted.root / "model" / "model.json").read_text()))
    assert "sub-" not in content
