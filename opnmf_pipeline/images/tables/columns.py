"""Which columns of a table are features: by the names that the programs of the field write."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from opnmf_pipeline.exceptions import CohortError

__all__ = ["choose", "corner", "is_known_covariate", "subject_column"]

SUBJECTS = {
    "participant_id",
    "subjid",
    "subject_id",
    "subjectid",
    "subject",
    "eid",
    "src_subject_id",
}
"""Names of the column of subjects, in small letters: BIDS, ENIGMA, UK Biobank, ABCD."""
CORNER = re.compile(r"(?:lh|rh)\.[\w.+-]+|Measure:\w+")
"""First cell of the tables of FreeSurfer (`aparcstats2table`, `asegstats2table`): the measure."""
COVARIATES = re.compile(
    r"age|sex|gender|site|scanner|group|diagnosis|dx|sdx|handedness|education|ao|durill"
    r"|(?:31|34|52|53|54|21003|21022|25000)-\d+\.\d+",
    re.IGNORECASE,
)
"""Covariates of ENIGMA and others; of UK Biobank: sex, birth, visit, site, age, head scaling."""
TOTALS = re.compile(
    r"e?tiv|icv|EstimatedTotalIntraCranialVol|IntraCranialVol"
    r"|BrainSegVol(?:NotVent)?(?:Surf)?(?:-to-eTIV)?|MaskVol(?:-to-eTIV)?"
    r"|(?:lh|rh)?(?:Cortex|CerebralWhiteMatter|CorticalWhiteMatter)Vol"
    r"|(?:SubCort|Total)GrayVol|SupraTentorialVol(?:NotVent)?(?:Vox)?"
    r"|(?:lh|rh)?SurfaceHoles|(?:lh|rh)_(?:MeanThickness_thickness|WhiteSurfArea_area)"
    r"|[LR](?:Thickness|SurfArea|FullSurfArea)|[LR]_MeanThickness(?:_thickavg)?",
    re.IGNORECASE,
)
"""Sizes of the head, and sums and means over regions, of FreeSurfer and ENIGMA."""
N_NAMED = 10

NO_MATCH_MSG = (
    "inputs.feature_names: no column of {path} matches {pattern!r}; the columns are {columns}"
)


def subject_column(columns: Sequence[str], id_column: str) -> str | None:
    """Return the column of subjects, or None if no name says it.

    Parameters
    ----------
    columns : sequence of str
        All columns.
    id_column : str
        Setting ``inputs.id_column``; a column of this name comes before all others.
    """
    if id_column in columns:
        return id_column
    known = [name for name in columns if name.strip().lower() in SUBJECTS]
    return known[0] if len(known) == 1 else corner(columns)


def corner(columns: Sequence[str]) -> str | None:
    """Return the first column, if its name is the measure of a table of FreeSurfer.

    Examples
    --------
    >>> corner(["lh.aparc.thickness", "lh_bankssts_thickness"])
    'lh.aparc.thickness'
    """
    return columns[0] if columns and CORNER.fullmatch(columns[0].strip()) else None


def is_known_covariate(name: str) -> bool:
    """Tell whether a column is a covariate or a total, not a feature, as its name says.

    Examples
    --------
    >>> [is_known_covariate(name) for name in ("ICV", "LThickness", "eTIV", "Age", "21003-2.0")]
    [True, True, True, True, True]
    >>> [is_known_covariate(name) for name in ("L_insula_thickavg", "Lthal", "26755-2.0")]
    [False, False, False]
    """
    plain = name.strip()
    return (COVARIATES.fullmatch(plain) or TOTALS.fullmatch(plain)) is not None


def choose(columns: Sequence[str], patterns: Sequence[str], path: object) -> list[str]:
    """Return the columns that match one of the patterns, in their order.

    Parameters
    ----------
    columns : sequence of str
        Columns that may be features.
    patterns : sequence of str
        Names, or patterns with ``*``, ``?`` and ``[]``.
    path : object
        The table, for messages.

    Raises
    ------
    CohortError
        A pattern matches no column.
    """
    found: set[str] = set()
    for pattern in patterns:
        matching = {name for name in columns if name == pattern or fnmatchcase(name, pattern)}
        if not matching:
            shown = [*columns[:N_NAMED], *["..."] * (len(columns) > N_NAMED)]
            names = {"pattern": pattern, "columns": ", ".join(shown)}
            raise CohortError(NO_MATCH_MSG.format(path=path, **names))
        found |= matching
    return [name for name in columns if name in found]
