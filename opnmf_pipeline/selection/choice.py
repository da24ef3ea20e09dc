"""Choice of a number of components from a table of measures, by one of the rules."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from opnmf_pipeline.exceptions import MissingColumnError, SelectionError
from opnmf_pipeline.selection.rules import RULES, Choice, Curves, listed

__all__ = ["choose_rank"]

ROUNDING = 1e-12
"""A standard deviation over splits below this is zero: all splits have the same value."""

RULE_MSG = "rule {rule!r} is unknown; use one of {rules}"
MISSING_MSG = "rule {rule!r} needs column {column}, which {state}"
ONE_SPLIT = (
    "{column} is 0 for every k, because all splits have the same two parts, for example if each of "
    "two sites is left out once. Split-to-split variability cannot be estimated, so no k can be "
    "clearly better than the others; use random halves instead. k = {k} is the smallest candidate."
)
RANGE_MSG = "none of the candidates k = {wanted} was fitted; the table has k = {known}"


def choose_rank(table: pd.DataFrame, rule: str, candidates: Iterable[int] | None = None) -> Choice:
    """Choose a number of components.

    Parameters
    ----------
    table : DataFrame
        One row per number of components, columns as in ``desc-opnmf_metrics.tsv``.
    rule : {'reproducibility-peak', 'null-crossing', 'opnmf-permutation', 'one-standard-error', \
            'weighted'}
        ``reproducibility-peak``: the highest peak of ``inner_product``, of halves with independent
        starts, that is larger than the noise, at the elbow of the error or before it
        (Sotiras et al. 2017).
        ``null-crossing``: the k beyond which additional components reduce the error no more than
        on shuffled data, see `null_lead` (Frigyesi & Höglund 2008).
        ``opnmf-permutation``: the smallest k after which the error, relative to its largest value,
        decreases less than on shuffled data, see `slower_than_null` (Python package opnmf).
        ``one-standard-error``: the smallest k whose explained variance out of sample is within one
        standard error (of the difference) of the highest, after Breiman et al. 1984
        (Classification and Regression Trees). Before the comparison, the gain that every additional
        component brings is subtracted: the slope over the last quarter of the table.
        ``weighted``: the k with the highest weighted mean of reproducibility and out-of-sample fit,
        each scaled to 0..1 over the range, with the weights of Patel et al. 2020.
    candidates : iterable of int, optional
        The numbers that may be chosen. The other rows of the table still define the curves.
        Default: all.

    Returns
    -------
    Choice
        Number, list of good numbers, reason, and whether the curves are flat.

    Raises
    ------
    SelectionError
        The rule is unknown, or no candidate has a row in the table.
    MissingColumnError
        A column that the rule needs is empty or not in the table.
    """
    if rule not in RULES:
        raise SelectionError(RULE_MSG.format(rule=rule, rules=", ".join(RULES)))
    needs = list(RULES[rule].needs)
    _check_columns(table, rule)
    tried = set(table["n_components"])
    wanted = tried if candidates is None else set(candidates)
    known = table.dropna(subset=needs).sort_values("n_components")
    ks = known["n_components"].to_numpy(dtype=np.int64)
    allowed = np.isin(ks, list(wanted))
    if not allowed.any():
        message = RANGE_MSG.format(wanted=listed(sorted(wanted)), known=listed(ks.tolist()))
        raise SelectionError(message)
    if allowed.sum() == 1:
        k = int(ks[allowed][0])
        choice = Choice(k, [k], f"k = {k} is the only candidate, so nothing was compared.", True)
    elif mirrored := [name for name in needs if name.endswith("_sd") and _is_zero(known[name])]:
        found = ks[allowed].tolist()
        reason = ONE_SPLIT.format(column=mirrored[0], k=found[0])
        choice = Choice(found[0], found, reason, True)
    else:
        choice = RULES[rule].decide(Curves(known, ks, allowed))
    if missing := sorted(wanted & tried - set(ks.tolist())):
        reason = f"{choice.reason} Left out because a measure is missing: k = {listed(missing)}."
        choice = choice._replace(reason=reason)
    return choice


def _check_columns(table: pd.DataFrame, rule: str) -> None:
    for column in RULES[rule].needs:
        if column not in table or table[column].isna().all():
            state = "is empty" if column in table else "the table does not have"
            message = MISSING_MSG.format(rule=rule, column=column, state=state)
            raise MissingColumnError(message, column)


def _is_zero(sd: pd.Series) -> bool:
    return bool(sd.max() < ROUNDING)
