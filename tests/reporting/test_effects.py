"""Associations as words, table and picture."""

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.reporting.associations import measure_associations
from opnmf_pipeline.reporting.covariates import choose_covariates
from opnmf_pipeline.reporting.effects import draw_effects, effects_table, summarize_effects

N = 60
MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    people = pd.DataFrame(
        {
            "age": rng.integers(20, 80, N),
            "sex": ["F"] * 25 + ["M"] * 35,
            "site": np.resize([1, 2, 3], N),
            "diagnosis": np.resize([f"s{n}" for n in range(7)], N),
        },
        index=[f"sub-{n:02d}" for n in range(N)],
    )
    H = rng.normal(size=(N, 3))
    H[:, 1] -= 0.1 * people["age"]
    H[:, 2] += 2 * (people["sex"] == "M")
    H[:, 0] += people["site"] ** 2
    loadings = pd.DataFrame(H, people.index, [f"component0{k}" for k in (1, 2, 3)])
    covariates = choose_covariates(people.astype(str), people.index.tolist()).used
    return measure_associations(loadings, covariates, people.index.tolist()).table


def test_the_strongest_association_is_said_in_words(table):
    age, sex, site, _ = [found.words for found in summarize_effects(table)]
    assert age.startswith("age (n = 60): the loadings on component 2 are lower for larger values")
    assert "(r = -0." in age
    assert "; adjusted: r = -0." in age
    assert "the loadings on component 3 are lower for F than for M (d = -" in sex
    assert "the loadings on component 1 differ between the levels of site (η² = 0." in site


def test_sizes_and_associations_are_counted(table):
    rows = table[(table["covariate"] == "age")].copy()
    simple = rows["model"] == "simple"
    rows.loc[simple, "effect"] = [0.05, -0.2, 0.7]
    rows.loc[simple, "p_fdr"] = [0.9, 0.05, 0.001]
    rows.loc[~simple, "p_fdr"] = [0.9, 0.9, 0.01]
    (found,) = summarize_effects(rows)
    assert "By size: 1 negligible, 1 small, 1 large." in found.words
    assert found.words.endswith(
        "age is associated with the loadings on 2 of 3 components, and on 1 in the adjusted model."
    )


def test_loadings_that_do_not_vary_are_said(table):
    rows = table[table["covariate"] == "age"].assign(effect=np.nan, p_fdr=np.nan)
    (found,) = summarize_effects(rows)
    assert found.words == (
        "age (n = 60): the loadings do not vary, so no association can be measured."
    )
    assert draw_effects([found]).image


def test_models_are_next_to_each_other_in_the_table(table):
    shown = effects_table(table)
    age = shown[(shown["component"] == 2) & (shown["covariate"] == "age")].iloc[0]
    (simple,) = table[
        (table["component"] == "component02")
        & (table["covariate"] == "age")
        & (table["model"] == "simple")
    ].to_dict("records")
    assert age["simple"] == (
        f"{simple['effect']:.2f} [{simple['ci_low']:.2f}, {simple['ci_high']:.2f}]"
    )
    assert age["simple: p (FDR)"] == "< 0.001"
    site = shown[(shown["component"] == 1) & (shown["covariate"] == "site")]
    assert site["comparison"].tolist() == ["", f"2 {MINUS} 1", f"3 {MINUS} 1"]
    assert site["measure"].tolist() == ["η²", "d", "d"]
    many = shown[(shown["component"] == 1) & (shown["covariate"] == "diagnosis")]
    assert many["measure"].tolist() == ["η²"]  # the file has the single levels


def test_the_picture_says_in_words_what_it_shows(table):
    effects = summarize_effects(table)
    figure = draw_effects(effects)
    assert figure.image.startswith(b"\x89PNG")
    assert all(found.words in figure.alt for found in effects)
    assert "Adjusted: from one model" in figure.caption
    alone = draw_effects(summarize_effects(table[table["model"] == "simple"]))
    assert "djusted" not in alone.caption
