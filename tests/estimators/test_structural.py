"""StructuralCovariance: subjects in, loadings out, and nothing of test subjects in a fit."""

import pickle

import nibabel as nb
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import MultiNiftiMasker, NiftiMasker, SurfaceMasker
from nilearn.surface import InMemoryMesh, SurfaceImage
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from opnmf_pipeline import OPNMF, PipelineConfig, StructuralCovariance
from opnmf_pipeline.exceptions import ConvergenceWarning, ImageError
from opnmf_pipeline.stages.mask import make_mask
from tests.builders import AFFINE, three_parts, write_image
from tests.surfaces import parts_of_sphere, thickness, write_subject

# compiled and quick; the solvers have their own tests
QUICK = {"solver": "orthonormal", "n_init": 1}


@pytest.fixture
def model():
    return StructuralCovariance(3, **QUICK)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six images in no standard space, so that no template has to be resampled to them."""
    folder = tmp_path_factory.mktemp("images")
    return write_images(folder, three_parts())


def write_images(folder, values):
    return [
        str(write_image(folder / f"sub-{number:02d}.nii.gz", volume, codes=(2, 2)))
        for number, volume in enumerate(values)
    ]


@pytest.fixture(scope="module")
def loadings_of_paths(images):
    return StructuralCovariance(3, **QUICK).fit_transform(images)


@pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")
@parametrize_with_checks([StructuralCovariance(2, **QUICK)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_rows_are_subjects(X, model):
    loadings = model.fit_transform(X.T)
    opnmf = OPNMF(3, random_state=0, **QUICK).fit(X)
    np.testing.assert_array_equal(model.components_, opnmf.coef_.T)
    np.testing.assert_array_equal(loadings, opnmf.components_.T)
    np.testing.assert_array_equal(model.transform(X.T), loadings)
    assert model.n_features_in_ == len(X) == 90
    assert model.reconstruction_err_ == opnmf.reconstruction_err_
    assert model.n_iter_ == opnmf.n_iter_
    # new subjects: one product
    new = np.random.default_rng(1).random((5, 90))
    np.testing.assert_allclose(model.transform(new), new @ opnmf.coef_, rtol=1e-5)


def test_more_subjects_than_voxels(model):
    X = np.random.default_rng(0).random((40, 12))
    loadings = model.fit_transform(X)
    assert loadings.shape == (40, 3)
    assert model.components_.shape == (3, 12)


def test_score_is_r2_about_the_training_mean(X, model):
    train, test = X.T[:18], X.T[18:]
    model.set_params(dtype="float64").fit(train)
    residual = test - model.inverse_transform(model.transform(test))
    expected = 1 - (residual**2).sum() / ((test - train.mean(axis=0)) ** 2).sum()
    assert model.score(test) == pytest.approx(expected, rel=1e-9)
    scores = cross_val_score(model, X.T, cv=KFold(4))
    assert scores[-1] == pytest.approx(expected, rel=1e-9)
    assert (scores > 0.8).all()


@pytest.mark.parametrize("n", [1, 3], ids=["one subject", "constant"])
def test_score_says_why_it_is_not_defined(n):
    """With three subjects, rounding makes the mean differ by one bit."""
    X = np.full((n, 6), 0.1)
    model = StructuralCovariance(1, **QUICK).fit(X)
    with pytest.warns(UndefinedMetricWarning, match="no subject of X differs from the mean"):
        assert np.isnan(model.score(X))
    assert model.score(5 * X) == pytest.approx(1)


@pytest.mark.parametrize("method", ["transform", "score"])
def test_images_in_other_units_are_a_warning(images, model, tmp_path, method):
    model.fit(images)
    getattr(model, method)(images)
    others = [images[0], *write_images(tmp_path, 100 * three_parts()[1:3])]
    with pytest.warns(UserWarning, match=r"2 of 3 images are in other units .* for X\[1\]\)"):
        getattr(model, method)(others)


def test_the_size_of_a_lesion_is_no_unit(model, tmp_path):
    lesions = np.zeros((8, 6, 6, 6), dtype=np.float32)
    for number, size in enumerate([4, 5, 5, 5, 4, 5, 5, 1]):
        lesions[number, :size, :size, :size] = 1
    images = write_images(tmp_path, lesions)
    model.set_params(mask=str(write_image(tmp_path / "mask.nii.gz", np.ones((6, 6, 6)))))
    model.set_params(n_components=1).fit(images[:6]).transform(images[6:])


def test_names_are_those_of_the_tables_of_a_run(X, model):
    table = pd.DataFrame(X.T, index=[f"sub-{n:02d}" for n in range(1, 25)])
    table.columns = [f"voxel{n}" for n in range(90)]
    loadings = model.set_output(transform="pandas").fit_transform(table)
    assert loadings.columns.tolist() == ["component01", "component02", "component03"]
    assert loadings.index.equals(table.index)
    assert model.feature_names_in_.tolist() == table.columns.tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(table.add_prefix("other "))


@pytest.mark.parametrize("dtype", ["float64", np.float64], ids=["name", "type"])
def test_dtype(X, model, dtype):
    loadings = model.set_params(dtype=dtype).fit_transform(X.T)
    assert loadings.dtype == model.components_.dtype == np.float64


def test_the_number_of_components_can_be_chosen(model):
    parts = np.repeat(np.eye(3), 20, axis=0)
    rng = np.random.default_rng(0)
    X = parts @ rng.random((3, 30)) + 0.1 * rng.random((60, 30))
    model.set_params(n_components=range(1, 6)).fit(X.T)
    assert model.n_components_ == len(model.components_) == 3
    assert model.opnmf_.ranks_.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (np.ones((4, 9)), {"n_components": 5}, r"at most min\(n_samples=4, n_features=9\)"),
        (np.ones((4, 9)), {"mask": "mask.nii"}, r"array of shape \(4, 9\): mask belongs to images"),
        (np.eye(9) - 0.5, {}, r"72 of them, the least is -0.5; .* a masker that standardizes"),
        (np.ones((4, 9)), {"mask": 3}, "'mask' parameter of StructuralCovariance must be"),
        (np.ones((4, 9)), {"init": "custom"}, "'init' parameter .* Got 'custom' instead"),
        ([], {}, "empty list: there are no images; check the pattern"),
        (["a.nii", np.ones(9)], {}, r"X\[0\] is an image \(str\), but X\[1\] is no .*ndarray"),
        ([np.ones(9), "a.nii"], {}, r"X\[0\] is no image \(ndarray\), but X\[1\] is an image"),
        ("*.nii.gz", {}, r"a pattern is no image: .* sorted\(glob\.glob\('\*\.nii\.gz'\)\)"),
        (np.ones((4, 9)), {"n_components": True}, "n_components must be an integer.*got True"),
        (np.ones((4, 9)), {"n_components": [True, 2]}, r"n_components must.*got \[True, 2\]"),
    ],
    ids=[
        *("rank", "mask of an array", "negative", "no mask", "start", "empty", "image first"),
        *("array first", "pattern", "flag", "flags"),
    ],
)
def test_what_cannot_be_used_is_refused(model, X, parameters, message):
    with pytest.raises(ValueError, match=message):
        model.set_params(**parameters).fit(X)


def test_loadings_of_another_number_of_components_are_refused(X, model):
    with pytest.raises(ValueError, match=r"shape \(24, 4\); expected .* \(n_subjects, 3\)"):
        model.fit(X.T).inverse_transform(np.ones((24, 4)))


def test_the_default_mask_is_that_of_a_run(cohort, model, tmp_path):
    options = PipelineConfig.model_validate(
        {"inputs": {"bids": cohort.root}, "output": {"dir": tmp_path}}
    )
    mask_file = make_mask(cohort.images, tmp_path / "m.nii", options.mask, options.matrix)
    model.fit(cohort.images)
    mask = nb.load(mask_file)
    np.testing.assert_array_equal(model.mask_img_.get_fdata(), mask.get_fdata())
    np.testing.assert_array_equal(model.mask_img_.affine, mask.affine)
    assert model.mask_img_.header["sform_code"] == mask.header["sform_code"] == 4


FORMS = {
    "paths": lambda images, folder: images,
    "series": lambda images, folder: pd.Series(images, index=range(5, 5 + len(images))),
    "array": lambda images, folder: np.array(images),
    "in memory": lambda images, folder: [nb.load(image) for image in images],
    "4D": lambda images, folder: nb.concat_images(images),
    "4D file": lambda images, folder: write_image(
        folder / "all.nii.gz", nb.concat_images(images).get_fdata(dtype=np.float32)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_images_are_the_same_to_it(images, loadings_of_paths, model, tmp_path, form):
    given = FORMS[form](images, tmp_path)
    np.testing.assert_array_equal(model.fit_transform(given), loadings_of_paths)
    np.testing.assert_allclose(model.transform(given), loadings_of_paths, rtol=1e-6)


def test_one_image_is_one_subject(images, loadings_of_paths, model):
    model.fit(images)
    for image in (images[2], nb.load(images[2]), [images[2]]):
        np.testing.assert_allclose(model.transform(image), loadings_of_paths[[2]], rtol=1e-6)


def test_integer_headers_do_not_round_images_in_memory(images, loadings_of_paths, model):
    volumes = [nb.load(image) for image in images]
    header = volumes[0].header.copy()
    header.set_data_dtype(np.int16)
    with_header = [nb.Nifti1Image(np.asarray(v.dataobj), v.affine, header) for v in volumes]
    np.testing.assert_array_equal(model.fit_transform(with_header), loadings_of_paths)


def test_inverse_transform_gives_images(images, model):
    loadings = model.fit_transform(images)
    back = model.inverse_transform(loadings)
    assert back.shape == (5, 4, 3, 6)
    inside = model.mask_img_.get_fdata() != 0
    np.testing.assert_allclose(back.get_fdata()[inside].T, loadings @ model.components_, rtol=1e-6)
    assert not back.get_fdata()[~inside].any()


def test_it_survives_pickle(images, model):
    loadings = model.fit_transform(images)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301
    np.testing.assert_allclose(again.transform(images), loadings, rtol=1e-6)
    np.testing.assert_array_equal(again.mask_img_.get_fdata(), model.mask_img_.get_fdata())


def test_the_mask_of_a_fold_knows_only_its_training_subjects(tmp_path, model):
    values = three_parts(n_subjects=6)
    values[:, 1, 1, 1] = 0
    values[2, 1, 1, 1] = 9  # the mean is above the threshold wherever this subject is
    images = write_images(tmp_path, values)
    age = np.arange(6.0)
    pipeline = make_pipeline(model, LinearRegression())
    found = cross_validate(
        pipeline, images, age, cv=KFold(3), return_estimator=True, error_score="raise",
        scoring="neg_mean_absolute_error",
    )  # fmt: skip
    masks = [fold[0].mask_img_.get_fdata()[1, 1, 1] for fold in found["estimator"]]
    assert masks == [1, 0, 1]
    # the same by hand
    train, test = [2, 3, 4, 5], [0, 1]
    fold = clone(model).fit([images[n] for n in train])
    of_train, of_test = (fold.transform([images[n] for n in rows]) for rows in (train, test))
    predicted = LinearRegression().fit(of_train, age[train]).predict(of_test)
    assert found["test_score"][0] == pytest.approx(-np.abs(predicted - age[test]).mean(), rel=1e-4)


def test_a_grid_search_over_images(images, model):
    search = GridSearchCV(model, {"n_components": [1, 3]}, cv=KFold(2), error_score="raise")
    search.fit(images)
    assert search.best_params_ == {"n_components": 3}
    assert search.best_estimator_.components_img_.shape == (5, 4, 3, 3)
    halves = [
        clone(model).fit(train).score(test)
        for train, test in ((images[3:], images[:3]), (images[:3], images[3:]))
    ]
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] == pytest.approx(np.mean(halves), rel=1e-6)


@pytest.mark.parametrize("in_memory", [False, True], ids=["path", "image"])
def test_a_mask_of_the_user(images, model, tmp_path, in_memory):
    inside = np.zeros((5, 4, 3), dtype=np.uint8)
    inside[:, 1:] = 1
    mask = write_image(tmp_path / "mask.nii.gz", inside)
    model.set_params(mask=nb.load(mask) if in_memory else mask).fit(images)
    np.testing.assert_array_equal(model.mask_img_.get_fdata(), inside)
    assert model.n_features_in_ == inside.sum()


@pytest.mark.parametrize("masker", [NiftiMasker, MultiNiftiMasker], ids=lambda kind: kind.__name__)
def test_maskers_of_nilearn(images, model, masker):
    expected = clone(model)
    expected.fit(images)
    mask = masker(mask_img=expected.mask_img_, standardize=None)
    loadings = model.set_params(mask=mask).fit_transform(images)
    np.testing.assert_array_equal(model.components_, expected.components_)
    np.testing.assert_allclose(model.transform(images[0]), loadings[:1], rtol=1e-6)
    np.testing.assert_array_equal(
        model.components_img_.get_fdata(), expected.components_img_.get_fdata()
    )
    assert not hasattr(mask, "mask_img_")  # a clone was fitted


def test_the_mask_of_a_masker_knows_only_training_subjects(images, model):
    threshold = {"mask_strategy": "background", "mask_args": {"opening": 0}}
    masker = NiftiMasker(standardize=None, **threshold).fit(images)
    model.set_params(mask=masker).fit(images[:3])
    assert model.masker_ is not masker
    expected = clone(masker).fit(images[:3]).mask_img_.get_fdata()
    np.testing.assert_array_equal(model.mask_img_.get_fdata(), expected)


@pytest.mark.filterwarnings("ignore")  # nilearn warns of the voxel that is constant
def test_a_masker_that_standardizes_is_refused(images, model):
    inside = nb.Nifti1Image(np.ones((5, 4, 3), np.uint8), AFFINE)
    masker = NiftiMasker(mask_img=inside, standardize="zscore_sample")
    model.set_params(mask=masker)
    with pytest.raises(ValueError, match="a masker that standardizes, detrends"):
        model.fit(images)


def test_parameters_of_a_masker_can_be_searched(images, model):
    inside = nb.Nifti1Image(np.ones((5, 4, 3), np.uint8), AFFINE)
    model.set_params(mask=NiftiMasker(mask_img=inside, standardize=None))
    model.set_params(mask__smoothing_fwhm=4)
    assert model.fit(images).masker_.smoothing_fwhm == 4


def test_surfaces_in_files(tmp_path, model):
    values = thickness(parts_of_sphere(60, 3, 5), 8)
    images = [
        write_subject(tmp_path, f"sub-{n:02d}", maps, "gifti") for n, maps in enumerate(values)
    ]
    loadings = model.fit_transform(images)
    assert model.n_features_in_ == 110  # without the medial wall
    assert model.components_img_.shape == (3, 120)
    np.testing.assert_allclose(model.transform(images), loadings, rtol=1e-6)


def test_surfaces_of_nilearn(model):
    rng = np.random.default_rng(0)
    strip = InMemoryMesh(rng.random((12, 3)), np.array([[n, n + 1, n + 2] for n in range(10)]))
    mesh = {"left": strip, "right": strip}
    images = [
        SurfaceImage(mesh, {"left": rng.random(12), "right": rng.random(12)}) for _ in range(6)
    ]
    with pytest.raises(ImageError, match=r"image-0: is a SurfaceImage in memory; .*SurfaceMasker"):
        model.fit(images)
    mask = SurfaceMasker(standardize=None)
    loadings = model.set_params(mask=mask).fit_transform(images)
    assert loadings.shape == (6, 3)
    assert model.components_img_.shape == (24, 3)


def test_images_after_a_fit_to_an_array_are_refused(X, images, model):
    with pytest.raises(ValueError, match=r"no mask; fit it to images, .*\(n_subjects, 90\)"):
        model.fit(X.T).transform(images)


def test_nothing_of_an_earlier_fit_remains(X, images, model):
    model.fit(images).fit(X.T)
    assert not hasattr(model, "masker_")
    assert not hasattr(model, "components_img_")
    assert isinstance(model.inverse_transform(np.ones((1, 3))), np.ndarray)
    table = pd.DataFrame(X.T, columns=[f"voxel{n}" for n in range(90)])
    assert not hasattr(model.fit(table).fit(images), "feature_names_in_")


def test_errors_of_images_say_what_to_do_here(tmp_path, model):
    values = three_parts()
    values[1, 2, 2, 1] = np.nan
    images = write_images(tmp_path, values)
    with pytest.raises(ImageError, match=r"image 1: .*sub-01.*: 1 NaN or infinite") as caught:
        model.fit(images)
    (note,) = caught.value.__notes__
    assert "takes a masker of nilearn as mask" in note


def test_images_on_another_grid_are_refused(images, model, tmp_path):
    other = write_image(tmp_path / "other.nii.gz", np.ones((6, 4, 3), np.float32))
    with pytest.raises(ImageError, match=r"other.nii.gz: shape \(6, 4, 3\), not \(5, 4, 3\)"):
        model.fit(images).transform([other])


def test_a_missing_image_is_named(images, model):
    with pytest.raises(ImageError, match=r"nowhere\.nii\.gz"):
        model.fit([*images, "nowhere.nii.gz"])


def test_a_fit_that_does_not_converge_says_so(X):
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter=2"):
        StructuralCovariance(3, solver="multiplicative", max_iter=2).fit(X.T)
