import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import CohortError

SHOWN = np.ix_([0, 3, 5], [0, 4, 5, 10, 11, 13])
WITH_COVARIATES = [
    [13.187372, 13.585703, 11.64137, 14.021586, 13.119738, 15.43987],
    [16.962411, 23.012656, 18.258257, 20.243459, 20.036711, 22.732173],
    [21.906917, 29.857722, 24.738337, 23.962441, 25.97448, 32.488008],
]
WITHOUT_COVARIATES = [
    [13.262342, 13.486719, 12.209529, 14.488383, 12.406302, 14.572149],
    [17.588169, 22.796185, 18.916135, 20.72586, 18.837222, 21.513277],
    [22.672201, 29.300917, 25.384085, 24.527853, 25.017873, 30.899732],
]


def small():
    """Six voxels of 14 subjects of three batches, without random numbers."""
    number = np.arange(14)
    table = pd.DataFrame(
        {
            "site": ["a"] * 5 + ["b"] * 6 + ["c"] * 3,
            "age": 20 + (7 * number) % 31,
            "sex": np.array(["F", "M"])[(number // 2) % 2],
        },
        index=[f"sub-{one:02d}" for one in number],
    )
    v = np.arange(1, 7)[:, np.newaxis]
    waves = np.sin(v * (number + 1) ** 2) * (1 + 0.2 * v)
    batches = (1.5 + 0.1 * v) * (table["site"] == "b").to_numpy() - 0.5 * v * (
        table["site"] == "c"
    ).to_numpy()
    return 10 + v + 0.05 * v * table["age"].to_numpy() + waves + batches, table


def harmonized(X, table, covariates=None):
    options = MatrixConfig(harmonize={"batch": "site", "covariates": covariates})
    return Adjustment.learn(X, table, options).apply(X, table, np.empty(X.shape))


@pytest.mark.parametrize(
    ("covariates", "expected"),
    [("age + sex", WITH_COVARIATES), (None, WITHOUT_COVARIATES)],
    ids=["covariates", "none"],
)
def test_values_are_those_of_the_published_program(covariates, expected):
    """neuroCombat 0.2.12, by the author of ComBat for imaging, wrote the expected values."""
    X, table = small()
    np.testing.assert_allclose(harmonized(X, table, covariates)[SHOWN], expected, atol=2e-6)


def planted(sizes, n_voxels=400, seed=0):
    """Values without batches, and with a planted shift and scale of each batch and voxel."""
    rng = np.random.default_rng(seed)
    site = np.repeat([f"s{number}" for number in range(len(sizes))], sizes)
    age = rng.uniform(20, 60, sum(sizes)) + 8 * (site == "s0")
    effect = rng.normal(0.03, 0.01, (n_voxels, 1))
    noise = rng.normal(size=(n_voxels, sum(sizes)))
    shift, scale = np.zeros_like(noise), np.ones_like(noise)
    for number in range(len(sizes)):
        shift[:, site == f"s{number}"] = number + 0.2 * rng.normal(size=(n_voxels, 1))
        scale[:, site == f"s{number}"] = 1 + 0.5 * number
    clean = 10 + effect * age
    table = pd.DataFrame({"site": site, "age": age}, index=[f"sub-{n}" for n in range(len(age))])
    return clean + noise, clean + shift + scale * noise, table, effect[:, 0], shift


def test_planted_shifts_and_scales_are_removed_and_the_effect_of_age_is_kept():
    _, X, table, effect, _ = planted([120, 120, 120])
    found = harmonized(X, table, "age")
    means = [found[:, table["site"] == site].mean() for site in ("s0", "s1", "s2")]
    ages = [table["age"][table["site"] == site].mean() for site in ("s0", "s1", "s2")]
    sds = [found[:, table["site"] == site].std(axis=1).mean() for site in ("s0", "s1", "s2")]
    assert np.ptp(np.array(means) - effect.mean() * np.array(ages)) < 0.03
    assert np.ptp(sds) / np.mean(sds) < 0.05
    slopes = np.polyfit(table["age"], found.T, 1)[0]
    assert slopes.mean() == pytest.approx(effect.mean(), rel=0.05)
    without = np.polyfit(table["age"], X.T, 1)[0]
    assert abs(without.mean() - effect.mean()) > 0.2 * effect.mean()


def test_small_batches_are_shrunk_towards_what_all_voxels_have_in_common():
    """With 4 subjects in a batch, the estimated shifts are nearer to the truth than the means."""
    _, X, table, _, shift = planted([60, 4], seed=1)
    small_batch = (table["site"] == "s1").to_numpy()

    def difference(values):
        return values[:, small_batch].mean(axis=1) - values[:, ~small_batch].mean(axis=1)

    truth = shift[:, -1] - shift[:, 0]
    removed = difference(X) - difference(harmonized(X, table))
    assert np.std(removed - truth) < 0.75 * np.std(difference(X) - truth)


def test_one_batch_stays_as_it_is():
    X, table = small()
    np.testing.assert_allclose(harmonized(X, table.assign(site="a")), X, rtol=1e-12)


def test_of_a_batch_with_one_subject_only_the_location_changes():
    X, table = small()
    table = table.assign(site=["a"] * 6 + ["b"] * 7 + ["c"])
    found = harmonized(X, table)
    assert np.isfinite(found).all()
    assert abs((found - X)[:, -1]).max() > 0.1


def test_a_batch_whose_subject_was_drawn_twice_gives_numbers():
    X, table = small()
    drawn = [*range(11), 12, 12]
    assert np.isfinite(harmonized(X[:, drawn], table.iloc[drawn])).all()


def test_an_unseen_batch_is_refused_with_the_batches_and_subjects():
    X, table = small()
    found = Adjustment.learn(X, table, MatrixConfig(harmonize={"batch": "site"}))
    new = table.assign(site=["d", *table["site"][1:]])
    with pytest.raises(CohortError, match=r"1 subject.*\(site\).*: d; it knows a, b, c.*sub-00"):
        found.apply(X, new, np.empty(X.shape))
    assert found.unseen(new).tolist() == [True, *[False] * 13]


def test_covariates_and_keep_are_in_the_model_by_default():
    _, X, table, _, _ = planted([120, 120])
    options = MatrixConfig(harmonize={"batch": "site"}, keep="age")
    found = Adjustment.learn(X, table, options).apply(X, table, np.empty(X.shape))
    np.testing.assert_array_equal(found, harmonized(X, table, "age"))
