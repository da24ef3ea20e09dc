"""The study of ranks on a tiny cohort: each number against its slow, obvious form."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig, SelectionConfig
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.exceptions import SelectionError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.selection.agreement import agreement
from opnmf_pipeline.selection.null import null_agreement
from opnmf_pipeline.selection.ranks import permuted
from opnmf_pipeline.selection.rules import FIT
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.halves import fit_halves
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.metrics import metrics_table
from opnmf_pipeline.stages.permuted import fit_permuted
from opnmf_pipeline.stages.select import select_rank
from opnmf_pipeline.stages.spaces import open_mask
from opnmf_pipeline.stages.splits import make_splits
from tests.builders import three_parts, write_cohort

OPTIONS = DecompositionConfig(solver="orthonormal", n_init=2, dtype="float64")
KS = (2, 3, 4)


def model(k, X, seed=0, init="nndsvd"):
    settings = {"solver": "orthonormal", "n_init": 2, "dtype": "float64"}
    return OPNMF(k, init=init, random_state=seed, **settings).fit(X)


def models(k, parts, seeds):
    """Fit each part from a random start of its own."""
    return [model(k, part, seed, "random") for part, seed in zip(parts, seeds, strict=True)]


class Study:
    """All fits of the study, and what they were made from."""

    def __init__(self, root):
        self.root = root
        cohort = write_cohort(root / "dataset", three_parts(n_subjects=10))
        self.mask = make_mask(cohort.images, root / "mask.nii.gz", MaskConfig(), MatrixConfig())
        self.matrix = build_matrix(
            cohort.images, cohort.subjects, self.mask, self.folder("matrix"), MatrixConfig()
        )
        self.X = np.array(read_matrix(self.matrix)[0])
        self.subjects = cohort.subjects
        options = SelectionConfig(n_splits=2)
        self.splits = make_splits(cohort.subjects, self.folder("splits"), options)
        self.fits = [decompose(self.matrix, self.folder(f"fit{k}"), k, OPTIONS) for k in KS]
        self.halves = [
            fit_halves(
                self.matrix,
                self.folder(f"halves{k}-{path.stem}"),
                k,
                path,
                OPTIONS,
                mask_file=self.mask,
                n_null=3,
            )
            for k in KS
            for path in self.splits
        ]
        self.shared = [
            fit_halves(
                self.matrix,
                self.folder(f"shared{k}-{path.stem}"),
                k,
                path,
                OPTIONS,
                shared_start=True,
            )
            for k in KS
            for path in self.splits
        ]
        self.starts = [
            decompose(self.matrix, self.folder(f"start{k}-{n}"), k, OPTIONS.from_random_start(n))
            for k in KS
            for n in (1, 2, 3)
        ]
        self.permuted = [
            fit_permuted(self.matrix, self.folder(f"permuted{k}-{seed}"), k, seed, OPTIONS)
            for k in KS
            for seed in (0, 1)
        ]

    def parts(self, split):
        names = json.loads(split.read_text())["Halves"]
        return [self.X[:, [self.subjects.index(name) for name in half]] for half in names]

    def of(self, k):
        """Return the fits of one k from random starts."""
        first = 3 * KS.index(k)
        return self.starts[first : first + 3]

    def folder(self, name):
        path = self.root / name
        path.mkdir()
        return path

    def select(self, name, fits=None, **options):
        files = {"halves": self.halves, "shared": self.shared, "starts": self.starts}
        options = files | {"permuted": self.permuted, "draw": False, "n_null": 2} | options
        return select_rank(
            self.fits if fits is None else fits, self.folder(name), self.mask, **options
        )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def selected(study):
    return study.select("selected", rule="reproducibility-peak", draw=True)


def table(folder, name):
    return pd.read_csv(folder / f"{name}.tsv", sep="\t")


def error(X, W):
    return np.linalg.norm(X - W @ (W.T @ X))


def test_halves_are_fitted_and_projected_as_one_would_by_hand(study):
    found = json.loads(study.halves[2].read_text())  # k = 3, the first split
    parts = study.parts(study.splits[0])
    first, second = (fit.coef_ for fit in models(3, parts, seeds=(1, 2)))
    assert (found["n_components"], found["split"], found["n_first"]) == (3, 1, 5)
    inside = [error(part, W) ** 2 for part, W in zip(parts, (first, second), strict=True)]
    outside = [error(part, W) ** 2 for part, W in zip(parts, (second, first), strict=True)]
    total = np.linalg.norm(study.X) ** 2
    means = [part.mean(axis=1, keepdims=True) for part in parts]
    about_own, about_other = (
        sum(np.linalg.norm(part - mean) ** 2 for part, mean in zip(parts, of, strict=True))
        for of in (means, means[::-1])
    )
    assert found["half_error"] == pytest.approx(np.sqrt(sum(inside)), rel=1e-5)
    assert found["out_of_sample_error"] == pytest.approx(np.sqrt(sum(outside)), rel=1e-5)
    for name, missed, varied in (
        ("half", inside, about_own),
        ("out_of_sample", outside, about_other),  # about the mean of the half of the components
    ):
        share = f"{name}_explained_variance"
        assert found[share] == pytest.approx(1 - sum(missed) / varied, rel=1e-5)
        assert found[f"{share}_about_zero"] == pytest.approx(1 - sum(missed) / total)
    assert found["half_error"] <= found["out_of_sample_error"]
    labels = [winner_takes_all(W) for W in (first, second)]
    assert found["label_ari"] == pytest.approx(adjusted_rand_score(*labels))
    assert found["converged"]


def test_the_starts_of_halves_are_their_own_or_shared(study):
    parts = study.parts(study.splits[1])
    own, shared = (json.loads(files[5].read_text()) for files in (study.halves, study.shared))
    assert [(found["n_components"], found["split"]) for found in (own, shared)] == [(4, 2)] * 2
    for found, fits in (
        (own, models(4, parts, seeds=(3, 4))),
        (shared, [model(4, part) for part in parts]),
    ):
        expected = agreement(*(fit.coef_ for fit in fits))
        assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert own["inner_product"] != pytest.approx(shared["inner_product"], abs=1e-4)


def test_a_group_left_out_is_projected_one_way(study, tmp_path):
    split = {"Split": 1, "LeftOut": "A", "Halves": [study.subjects[:6], study.subjects[6:]]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps(split))
    found = json.loads(fit_halves(study.matrix, tmp_path, 2, path, OPTIONS).read_text())
    W, left = model(2, study.X[:, :6], 1, "random").coef_, study.X[:, 6:]
    assert found["left_out"] == "A"
    assert found["out_of_sample_error"] == pytest.approx(error(left, W), rel=1e-5)
    about_seen = np.linalg.norm(left - study.X[:, :6].mean(axis=1, keepdims=True))
    share = 1 - (error(left, W) / about_seen) ** 2
    assert found["out_of_sample_explained_variance"] == pytest.approx(share, rel=1e-5)
    share = 1 - (error(left, W) / np.linalg.norm(left)) ** 2
    assert found["out_of_sample_explained_variance_about_zero"] == pytest.approx(share)


def test_shuffled_data_have_the_error_of_what_is_shuffled(study):
    found = json.loads(study.permuted[3].read_text())  # k = 3, seed 1
    expected = model(3, permuted(study.X, 1)).reconstruction_err_
    assert found["error"] == pytest.approx(expected, rel=1e-5)
    assert found["error"] > read_factorization(study.fits[1]).info["ReconstructionError"]


def test_metrics_are_means_over_splits(study, selected):
    metrics, splits = table(selected, "metrics"), table(selected, "splits")
    assert metrics["n_components"].tolist() == list(KS)
    assert list(zip(splits["n_components"], splits["split"], strict=True)) == [
        (k, split) for k in KS for split in (1, 2)
    ]
    for name in ("inner_product", "label_ami", "out_of_sample_error", "stability"):
        values = splits[name].to_numpy().reshape(3, 2)
        np.testing.assert_allclose(metrics[name], values.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(
            metrics[f"{name}_sd"], values.std(axis=1, ddof=1), rtol=1e-4, atol=1e-7
        )
    errors = metrics["reconstruction_error"].to_numpy()
    np.testing.assert_allclose(metrics["error_gradient"][1:], errors[:-1] - errors[1:], rtol=1e-5)
    null = [json.loads(path.read_text())["error"] for path in study.permuted]
    np.testing.assert_allclose(
        metrics["null_error"], np.reshape(null, (3, 2)).mean(axis=1), rtol=1e-6
    )
    assert (metrics["n_splits"] == 2).all()


def test_agreement_from_a_shared_start_is_beside_that_from_independent_ones(study, selected):
    metrics, splits = table(selected, "metrics"), table(selected, "splits")
    shared = [json.loads(path.read_text()) for path in study.shared]
    for name in ("inner_product", "label_ari"):
        values = [found[name] for found in shared]
        np.testing.assert_allclose(splits[f"shared_start_{name}"], values, rtol=1e-6)
        means = np.reshape(values, (3, 2)).mean(axis=1)
        np.testing.assert_allclose(metrics[f"shared_start_{name}"], means, rtol=1e-6)
    alone = study.select("unshared", shared=())
    assert not table(alone, "metrics").columns.str.startswith("shared").any()
    assert not table(alone, "splits").columns.str.startswith("shared").any()


def test_starts_are_compared_for_each_k(study, selected):
    metrics = table(selected, "metrics")
    assert metrics["n_starts"].tolist() == [3, 3, 3]
    for row, k in enumerate(KS):
        weights = [read_factorization(path).W for path in study.of(k)]
        pairs = [agreement(weights[a], weights[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
        for name in ("inner_product", "label_ari"):
            expected = sum(pair[name] for pair in pairs) / 3
            assert metrics[f"start_{name}"][row] == pytest.approx(expected, rel=1e-6)
    planted = metrics.set_index("n_components").loc[3]
    assert planted["start_inner_product"] > 0.99
    assert planted["start_label_ari"] == 1


def test_agreement_by_chance_is_beside_each_agreement(study, selected):
    metrics, splits = table(selected, "metrics"), table(selected, "splits")
    positions = open_mask(study.mask).positions()
    for row, k in enumerate(KS):
        for number, split in enumerate(study.splits, start=1):
            W_a, W_b = (
                fit.coef_ for fit in models(k, study.parts(split), (2 * number - 1, 2 * number))
            )
            null = null_agreement(W_a, W_b, positions, 3, [k, number, 0])
            found = splits.set_index(["n_components", "split"]).loc[(k, number)]
            assert found["label_ari_null"] == pytest.approx(null.label_ari.mean(), abs=1e-6)
            spread = null.label_ari.std(ddof=1)
            assert found["label_ari_null_sd"] == pytest.approx(spread, abs=1e-6)
        for name in ("inner_product_null", "label_ari_null_sd"):
            expected = splits.loc[splits["n_components"] == k, name].mean()
            assert metrics[name][row] == pytest.approx(expected, abs=1e-6)
        weights = [read_factorization(path).W for path in study.of(k)]
        pairs = ((0, 1), (0, 2), (1, 2))
        null = [
            null_agreement(weights[a], weights[b], positions, 2, [k, 0, number]).label_ari
            for number, (a, b) in enumerate(pairs)
        ]
        assert metrics["start_label_ari_null"][row] == pytest.approx(np.mean(null), abs=1e-6)
    described = json.loads((selected / "metrics.json").read_text())
    assert "random compact" in described["inner_product_null"]["Description"]


def test_without_a_null_there_are_no_columns_for_it(study):
    alone = study.select("no-null", halves=study.shared, n_null=0)
    assert not table(alone, "metrics").columns.str.contains("_null").any()
    assert not table(alone, "splits").columns.str.contains("_null").any()


def test_a_single_start_is_compared_with_nothing(study):
    few = [*study.of(2), study.of(3)[0]]
    metrics = table(study.select("few-starts", starts=few), "metrics")
    assert metrics["n_starts"].fillna(0).tolist() == [3, 0, 0]
    assert metrics["start_label_ari"].isna().tolist() == [False, True, True]
    assert "n_starts" not in table(study.select("no-starts", starts=()), "metrics")


def test_the_order_of_the_fits_does_not_matter(study, selected):
    backwards = study.select(
        "backwards",
        fits=study.fits[::-1],
        halves=study.halves[::-1],
        shared=study.shared[::-1],
        starts=study.starts[::-1],
        permuted=study.permuted[::-1],
        rule="reproducibility-peak",
    )
    for path in backwards.iterdir():
        assert path.read_bytes() == (selected / path.name).read_bytes(), path.name


def test_the_planted_number_is_chosen(selected):
    choice = json.loads((selected / "selection.json").read_text())
    assert choice["k"] == 3
    assert choice["rule"] == "reproducibility-peak"
    assert choice["range"] == [2, 4]
    assert "k = 3" in choice["reason"]


def test_parts_of_the_hierarchy_have_every_voxel_once(study, selected):
    hierarchy = table(selected, "hierarchy")
    steps = hierarchy.groupby(["n_components", "next_n_components"])["n_voxels"].sum()
    assert steps.to_dict() == {(2, 3): len(study.X), (3, 4): len(study.X)}
    W = {fit.W.shape[1]: winner_takes_all(fit.W) for fit in map(read_factorization, study.fits)}
    for row in hierarchy.itertuples():
        both = (W[row.n_components] == row.part) & (W[row.next_n_components] == row.next_part)
        assert row.n_voxels == both.sum()


@pytest.mark.parametrize("name", ["metrics", "splits", "hierarchy"])
def test_every_column_is_described(selected, name):
    described = json.loads((selected / f"{name}.json").read_text())
    assert list(described) == table(selected, name).columns.tolist()
    assert all(len(column["Description"]) > 5 for column in described.values())


def test_pictures_are_those_for_which_there_are_data(study, selected):
    pictures = {"errors.png", "reproducibility.png", "hierarchy.png"}
    assert {path.name for path in selected.glob("*.png")} == pictures
    nothing = dict.fromkeys(("halves", "shared", "starts", "permuted"), ())
    alone = study.select("alone", fits=study.fits[:1], draw=True, **nothing)
    assert {path.name for path in alone.iterdir()} == {"metrics.tsv", "metrics.json"}


def test_nothing_is_chosen_without_a_rule_or_a_number_in_the_range(study):
    assert not (study.select("ruleless") / "selection.json").exists()
    outside = study.select("outside", rule="reproducibility-peak", rank_range=(8, 9))
    assert not (outside / "selection.json").exists()


def test_only_numbers_in_the_range_are_chosen(study):
    folder = study.select("ranged", rule="null-crossing", rank_range=(2, 2))
    assert json.loads((folder / "selection.json").read_text())["k"] == 2


@pytest.mark.parametrize(
    ("rule", "without", "message"),
    [
        ("null-crossing", "null_error", "set selection.n_permutations to 1 or more"),
        ("reproducibility-peak", "inner_product", "set selection.n_splits to 1 or more"),
        ("reproducibility-peak", "inner_product_sd", "set selection.n_splits to 2 or more"),
        ("one-standard-error", FIT, "set selection.n_splits to 1 or more"),
        ("one-standard-error", f"{FIT}_sd", "set selection.n_splits to 2 or more"),
        ("weighted", "stability", "set selection.n_splits to 1 or more"),
        ("weighted", "label_ari_sd", "set selection.n_splits to 2 or more"),
    ],
)
def test_a_measure_that_lacks_is_named_with_its_setting(study, monkeypatch, rule, without, message):
    def incomplete(*arguments):
        return metrics_table(*arguments).drop(columns=without)

    monkeypatch.setattr("opnmf_pipeline.stages.select.metrics_table", incomplete)
    with pytest.raises(SelectionError, match=f"rule '{rule}' needs column {without}, .*{message}"):
        study.select(f"lacks-{rule}-{without}", rule=rule)


def test_a_rule_without_splits_names_the_setting(study):
    message = "needs column inner_product, .* set selection.n_splits to 1 or more"
    with pytest.raises(SelectionError, match=message):
        study.select("splitless", halves=(), rule="reproducibility-peak")


def test_parts_of_each_fit(study, selected):
    metrics = table(selected, "metrics").set_index("n_components")
    for fit in map(read_factorization, study.fits):
        sizes = np.bincount(winner_takes_all(fit.W))[1:]
        assert metrics.loc[len(sizes), "smallest_part"] == sizes.min() > 0
        about_mean = np.linalg.norm(study.X - study.X.mean(axis=1, keepdims=True))
        for name, norm in (("", about_mean), ("_about_zero", np.linalg.norm(study.X))):
            explained = 1 - (error(study.X, fit.W) / norm) ** 2
            found = metrics.loc[len(sizes), f"explained_variance{name}"]
            assert found == pytest.approx(explained, rel=1e-5)
