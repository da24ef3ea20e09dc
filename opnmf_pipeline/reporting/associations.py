"""Linear models of the loadings on covariates: effect sizes with intervals, for each component.

For each covariate there is a simple model, which contains only this covariate. The adjusted model
contains all of them. The models describe a cohort: an association is not a cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from opnmf_pipeline.reporting.covariates import MIN_PER_LEVEL, Covariate

__all__ = [
    "ADJUSTED",
    "CLUSTER_NOTE",
    "COLUMNS",
    "ETA2",
    "SIMPLE",
    "Associations",
    "D",
    "R",
    "measure_associations",
]

SIMPLE, ADJUSTED = "simple", "adjusted"
R, D, ETA2 = "r", "d", "eta2"
LEVEL = 0.95
"""Coverage of the confidence intervals."""
MIN_DF = 5
"""Smallest number of residual degrees of freedom of a model."""

COLUMNS: dict[str, dict[str, Any]] = {
    "component": {"Description": "Component, as in the table of loadings"},
    "covariate": {"Description": "Column of the table of subjects"},
    "level": {
        "Description": "Level of the covariate that is compared with the reference. n/a: the "
        "covariate is a number, or the row is about all of its levels together"
    },
    "reference": {"Description": "Level that others are compared with"},
    "model": {
        "Description": "Covariates in the linear model (ordinary least squares)",
        "Levels": {SIMPLE: "only this covariate", ADJUSTED: "all covariates"},
    },
    "n": {"Description": "Number of rows of the table of loadings in the model"},
    "measure": {
        "Description": "Effect size",
        "Levels": {
            R: "Correlation (simple) or partial correlation (adjusted)",
            D: "Difference from the reference, divided by the residual standard deviation of the "
            "model: Cohen's d in a simple model of two levels",
            ETA2: "Share of the variance that all levels explain, of what the other covariates do "
            "not explain (partial eta squared)",
        },
    },
    "effect": {"Description": "Value of the effect size"},
    "ci_low": {"Description": f"Lower limit of its confidence interval ({LEVEL:.0%})"},
    "ci_high": {"Description": f"Upper limit of its confidence interval ({LEVEL:.0%})"},
    "estimate": {
        "Description": "Coefficient of the model, in units of the loadings: change per unit of the "
        "covariate, or difference from the reference"
    },
    "se": {"Description": "Standard error of the coefficient"},
    "statistic": {"Description": "t of the coefficient, or F of all levels together"},
    "df": {"Description": "Degrees of freedom of t, or of the denominator of F"},
    "p": {"Description": "p-value, two-sided, not corrected"},
    "p_fdr": {
        "Description": "p-value corrected over the components for each covariate, level and model "
        "(false discovery rate, Benjamini and Hochberg 1995)"
    },
}
"""Columns of the table of associations, as in a sidecar of BIDS."""

MISSING_NOTE = (
    "{name}: {n} of {total} rows have no value that can be used, and are not in its models."
)
COMPLETE_NOTE = (
    "The adjusted model has {n} of {total} rows; the others lack a value of one of its covariates."
)
SMALL_NOTE = (
    "There is no adjusted model: of the covariates, only {left} varies in the {n} rows that have a "
    "value of all of them."
)
FEW_ROWS_NOTE = (
    "There is no adjusted model: {n} rows have a value of all covariates, which is too few for "
    "{p} coefficients."
)
CONSTANT_NOTE = "The adjusted model does not contain {names}: one value is left in its rows."
ALIKE_NOTE = (
    "The adjusted model has no effect of {names}: in this cohort, the effects of these covariates "
    "cannot be separated from each other (they are collinear)."
)
CLUSTER_NOTE = (
    "Several rows are sessions of one subject, so they are not independent: the standard errors "
    "are cluster-robust, with the subjects as clusters."
)


@dataclass(frozen=True)
class Associations:
    """Associations of the loadings with covariates.

    Attributes
    ----------
    table : DataFrame
        The columns of :data:`COLUMNS`, one row per component, effect and model.
    notes : sequence of str
        What was left out of the models, and what holds for all of them, as sentences.
    """

    table: pd.DataFrame
    notes: Sequence[str]


def measure_associations(
    loadings: pd.DataFrame, covariates: Sequence[Covariate], subjects: Sequence[str]
) -> Associations:
    """Fit linear models of the loadings of every component on the covariates.

    Parameters
    ----------
    loadings : DataFrame
        One row per subject or session, one column per component.
    covariates : sequence of Covariate
        Covariates with the same rows; may be empty.
    subjects : sequence of str
        The subject of each row. If a subject has several rows, the standard errors are robust to
        the dependence of its rows.

    Returns
    -------
    Associations
        Effect sizes with 95 % confidence intervals, tests, and notes. Effects on loadings that do
        not vary are missing values.

    Notes
    -----
    A partial correlation is t / √(t² + df), with the interval of Fisher's z. The variance of d is
    (se / s)² + d² / (2 df) (Hedges & Olkin 1985), where s is the residual standard deviation. With
    several rows per subject, both intervals use the cluster-robust standard error.
    """
    people = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)[1]
    clustered = len(np.unique(people)) < len(people)
    notes = [f"{covariate.name}: {covariate.note}" for covariate in covariates if covariate.note]
    models = []
    for covariate in covariates:
        known = covariate.values.notna().to_numpy()
        if not known.all():
            counts = {"n": int((~known).sum()), "total": len(known)}
            notes.append(MISSING_NOTE.format(name=covariate.name, **counts))
        models.append(_Model.of(SIMPLE, [covariate], known))
    if len(covariates) > 1:
        models += _adjusted(covariates, people, notes)
    if clustered and covariates:
        notes.append(CLUSTER_NOTE)
    rows = [
        {"component": str(name), **effect}
        for name in loadings
        for model in models
        for effect in model.effects(loadings[name], people if clustered else None)
    ]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_fdr"])
    return Associations(_corrected(table), notes)


def _adjusted(
    covariates: Sequence[Covariate], people: NDArray[np.intp], notes: list[str]
) -> list[_Model]:
    """Return the model with all covariates, or an empty list if there are too few rows."""
    known = _complete(covariates, people)
    varying = [covariate for covariate in covariates if covariate.values[known].nunique() > 1]
    n, names = int(known.sum()), [covariate.name for covariate in varying]
    if len(varying) < 2:
        notes.append(SMALL_NOTE.format(n=n, left=", ".join(names) or "no covariate"))
        return []
    model = _Model.of(ADJUSTED, varying, known)
    if n - model.X.shape[1] < MIN_DF:
        notes.append(FEW_ROWS_NOTE.format(n=n, p=model.X.shape[1]))
        return []
    if n < len(known):
        notes.append(COMPLETE_NOTE.format(n=n, total=len(known)))
    if constant := [one.name for one in covariates if one.name not in names]:
        notes.append(CONSTANT_NOTE.format(names=" and ".join(constant)))
    if alike := [term.covariate.name for term in model.terms if not term.columns]:
        notes.append(ALIKE_NOTE.format(names=" and ".join(alike)))
    return [model]


def _complete(covariates: Sequence[Covariate], people: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return the rows with all covariates; levels that have few subjects there are left out."""
    known: NDArray[np.bool_] = np.all([one.values.notna() for one in covariates], axis=0)
    while True:
        before = known
        for covariate in covariates:
            if covariate.levels:
                found = covariate.values.where(pd.Series(known, covariate.values.index))
                sizes = pd.Series(people, found.index).groupby(found, observed=False).nunique()
                few = sizes.index[sizes < MIN_PER_LEVEL]
                known = known & ~found.isin(few).to_numpy()
        if (known == before).all():
            return known


@dataclass(frozen=True)
class _Term:
    """A covariate in a design matrix.

    A number has one column, divided by ``scale``. The levels of other covariates have one column
    each, except the reference (treatment coding). There are no columns if the effect cannot be
    separated from those of other covariates.
    """

    covariate: Covariate
    columns: range
    levels: Sequence[str] = ()
    reference: str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class _Model:
    """A linear model: the same design matrix for all components."""

    name: str
    terms: Sequence[_Term]
    X: NDArray[np.float64]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, name: str, covariates: Sequence[Covariate], known: NDArray[np.bool_]) -> _Model:
        """Return the model with an intercept, on the rows that are known."""
        blocks, terms, first = [np.ones((int(known.sum()), 1))], [], 1
        for covariate in covariates:
            values = covariate.values[known]
            if covariate.levels:
                reference, *levels = map(str, values.cat.remove_unused_categories().cat.categories)
                block = np.column_stack([values == level for level in levels]).astype(float)
                columns = range(first, first + len(levels))
                terms.append(_Term(covariate, columns, levels, reference))
            else:
                numbers, columns = values.to_numpy(np.float64), range(first, first + 1)
                block = ((numbers - numbers.mean()) / numbers.std())[:, None]
                terms.append(_Term(covariate, columns, scale=numbers.std()))
            blocks.append(block)
            first = columns.stop
        X, terms = _of_full_rank(np.column_stack(blocks), terms)
        return cls(name, terms, X, known)

    def effects(
        self, loadings: pd.Series[Any], people: NDArray[np.intp] | None
    ) -> Iterator[dict[str, Any]]:
        """Fit the model for one component, and yield its effects as rows of the table.

        Parameters
        ----------
        loadings : Series
            Loadings of all rows.
        people : ndarray of int, optional
            The subject of each row, if the standard errors are to be cluster-robust.
        """
        # takes a second, which every command would wait for
        from statsmodels.regression.linear_model import OLS

        y = loadings.to_numpy(np.float64)[self.known]
        ols = OLS(y, self.X).fit()
        robust = ols
        if people is not None:
            clusters = {"groups": people[self.known]}
            robust = OLS(y, self.X).fit(cov_type="cluster", cov_kwds=clusters, use_t=True)
        varies = np.sqrt(ols.scale) > 1e-10 * max(np.abs(y).max(), np.finfo(float).tiny)
        fit = _Fit(ols, robust) if varies else None
        for term in self.terms:
            about = {"covariate": term.covariate.name, "model": self.name, "n": len(y)}
            usable = fit if term.columns else None
            first = term.columns.start
            if not term.levels:
                found = usable.correlation(first, term.scale) if usable else {}
                yield about | {"measure": R} | found
                continue
            about["reference"] = term.reference
            if len(term.levels) > 1:
                yield about | {"measure": ETA2} | (usable.share(term.columns) if usable else {})
            for column, level in enumerate(term.levels, start=first):
                found = usable.difference(column) if usable else {}
                yield about | {"level": level, "measure": D} | found


def _of_full_rank(
    X: NDArray[np.float64], terms: Sequence[_Term]
) -> tuple[NDArray[np.float64], list[_Term]]:
    """Leave out columns that are combinations of those before them.

    The coefficients of a term do not depend on which of the others' columns are left out, if none
    of its own columns is a combination of other columns. The other terms lose their columns.
    """
    unit = X / np.linalg.norm(X, axis=0)
    kept = [0]
    for column in range(1, X.shape[1]):
        if np.linalg.matrix_rank(unit[:, [*kept, column]]) > len(kept):
            kept.append(column)
    found = []
    for term in terms:
        others = np.delete(unit, list(term.columns), axis=1)
        separable = len(kept) - np.linalg.matrix_rank(others) == len(term.columns)
        first = kept.index(term.columns.start) if separable else 0
        found.append(replace(term, columns=range(first, first + len(term.columns) * separable)))
    return X[:, kept], found


@dataclass(frozen=True)
class _Fit:
    """Results of statsmodels for one component: ordinary ones, and those with robust errors."""

    ols: Any
    robust: Any

    @property
    def df(self) -> float:
        """Degrees of freedom of the tests: number of clusters − 1 if the errors are robust."""
        return float(getattr(self.robust, "df_resid_inference", None) or self.ols.df_resid)

    def _coefficient(self, column: int, scale: float = 1.0) -> dict[str, float]:
        return {
            "estimate": self.robust.params[column] / scale,
            "se": self.robust.bse[column] / scale,
            "statistic": self.robust.tvalues[column],
            "df": self.df,
            "p": self.robust.pvalues[column],
        }

    def correlation(self, column: int, scale: float) -> dict[str, float]:
        """Return the partial correlation of a number, with the interval of Fisher's z."""
        t, df = self.ols.tvalues[column], self.ols.df_resid
        r = t / np.sqrt(t**2 + df)
        widening = self.robust.bse[column] / self.ols.bse[column]
        quantile = stats.norm.ppf((1 + LEVEL) / 2)
        if self.robust is not self.ols:
            quantile = stats.t.ppf((1 + LEVEL) / 2, self.df)
        half = quantile * widening / np.sqrt(df - 1)
        z = np.arctanh(r)
        low, high = np.tanh(z - half), np.tanh(z + half)
        return {"effect": r, "ci_low": low, "ci_high": high, **self._coefficient(column, scale)}

    def difference(self, column: int) -> dict[str, float]:
        """Return the standardized difference of a level from the reference."""
        s = np.sqrt(self.ols.scale)
        d, se = self.ols.params[column] / s, self.robust.bse[column] / s
        quantile = stats.t.ppf((1 + LEVEL) / 2, self.df)
        half = quantile * np.sqrt(se**2 + d**2 / (2 * self.ols.df_resid))
        return {"effect": d, "ci_low": d - half, "ci_high": d + half, **self._coefficient(column)}

    def share(self, columns: Sequence[int]) -> dict[str, float]:
        """Return partial η² of all levels of a covariate, with the F test of these levels."""
        chosen = np.eye(len(self.ols.params))[list(columns)]
        F, q, df = self.ols.f_test(chosen).fvalue, len(columns), self.ols.df_resid
        test = self.robust.f_test(chosen)
        return {
            "effect": F * q / (F * q + df),
            "statistic": float(test.fvalue),
            "df": self.df,
            "p": float(test.pvalue),
        }


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``p_fdr``: corrected over components, for each effect of each model."""
    corrected = pd.Series(np.nan, index=table.index, dtype=float)
    p = table["p"].astype(float)
    for _, rows in table[p.notna()].groupby(["covariate", "level", "model"], dropna=False):
        corrected[rows.index] = stats.false_discovery_control(p[rows.index])
    return table.assign(p_fdr=corrected)
