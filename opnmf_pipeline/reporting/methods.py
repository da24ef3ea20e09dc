"""The methods section of a paper for the settings of a run, with its references."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from opnmf_pipeline.reporting.adjustment import describe_adjustment
from opnmf_pipeline.reporting.associations import ADJUSTED, CLUSTER_NOTE, ETA2, D, R
from opnmf_pipeline.reporting.change import describe_change
from opnmf_pipeline.reporting.facts import AssociationFacts, GridFacts
from opnmf_pipeline.reporting.measures import describe_measures, n_subjects_of
from opnmf_pipeline.reporting.outliers import RULE
from opnmf_pipeline.reporting.references import REFERENCES, Reference

__all__ = ["Methods", "describe_methods"]

CITATION = re.compile(r"\[([a-z0-9, ]+)\]")
INITS = {
    "nndsvd": "non-negative double singular value decomposition [boutsidis2008]",
    "nndsvda": "non-negative double singular value decomposition with zeros replaced by the mean "
    "of the data [boutsidis2008]",
    "nndsvdar": "non-negative double singular value decomposition with zeros replaced by small "
    "random numbers [boutsidis2008]",
    "brainparts": "non-negative double singular value decomposition [boutsidis2008] with zeros set "
    "to 0.1",
    "random": "random non-negative values",
}
KINDS = {
    "FLAIR": "FLAIR images",
    "T1w": "T1-weighted images",
    "T2w": "T2-weighted images",
    "cbf": "maps of cerebral blood flow",
    "mask": "binary masks",
    "pet": "PET images",
    "probseg": "tissue probability maps",
    "thickness": "maps of cortical thickness",
}
"""What images show, by their BIDS suffix."""
TISSUES = {"GM": "grey-matter", "WM": "white-matter", "CSF": "cerebrospinal-fluid"}
"""Tissues of probability maps, by the BIDS entity ``label``."""
MASKS = {
    "mean": "whose mean over the subjects was above {threshold:g}",
    "coverage": "with a value above {threshold:g} in at least {subjects} subjects",
    "template": "with a value above {threshold:g} in the grey-matter map of the MNI152 template "
    "[fonov2011]",
    "image": "inside a given mask",
    "all": "that were not zero in all subjects",
}
EFFECTS = {
    R: "correlations (partial correlations in the model with all covariates)",
    D: "differences divided by the residual standard deviation [hedges1985]",
    ETA2: "shares of the variance (partial η²)",
}
ENGINES = {"nipype": "Nipype {version} [gorgolewski2011]", "pydra": "Pydra {version} [jarecka2020]"}
LIBRARIES = {
    "numpy": "NumPy {} [harris2020]",
    "scipy": "SciPy {} [virtanen2020]",
    "numba": "Numba {} [lam2015]",
    "scikit-learn": "scikit-learn {} [pedregosa2011]",
    "nibabel": "NiBabel {} [nibabel]",
    "nilearn": "Nilearn {} [nilearn]",
}


@dataclass(frozen=True)
class Methods:
    """A methods section.

    Attributes
    ----------
    paragraphs : tuple of str
        Text of the section.
    references : tuple of Reference
        References, in the order of their citations.
    bibtex : str
        BibTeX entries of the references.
    """

    paragraphs: tuple[str, ...]
    references: tuple[Reference, ...]
    bibtex: str


def describe_methods(
    fits: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    grid: GridFacts,
    choice: Mapping[str, Any] | None,
    *,
    solver: str,
    qualified: bool,
    located: bool,
    only_brain: bool,
    entities: Mapping[str, str],
    associations: AssociationFacts | None = None,
) -> Methods:
    """Return the methods section of a run.

    Parameters
    ----------
    fits : sequence of dict
        Content of ``factorization.json``, one per number of components; before a run, without
        ``NumberOfVoxels`` and ``Converged``.
    settings : dict
        Settings of the run; unknown sections may be absent.
    grid : GridFacts
        Grid of the mask.
    choice : dict or None
        The chosen number of components: ``k``, ``rule``, ``criterion``, ``flat``.
    solver : str
        Sentences about the solver. Fields such as ``{tol}`` are replaced by settings of the fits,
        ``{init}`` by a description of the initialization, and ``{element}`` and ``{elements}`` by
        the names of the places of the grid.
    qualified : bool
        Whether the quality of the cohort was measured.
    located : bool
        Whether an atlas describes the components.
    only_brain : bool
        Whether the mask excludes what is outside the brain mask of the template.
    entities : mapping of str to str
        BIDS entities and suffix that say what all images show and where; may be empty.
    associations : AssociationFacts or None
        Associations of the loadings with covariates, if they were measured.
    """
    if named := settings.get("output", {}).get("space"):
        entities = {**entities, "space": named}
    paragraphs = [
        _images(fits[0], settings.get("mask", {}), grid, entities, only_brain=only_brain),
        describe_change(fits[0]),
        describe_measures(fits[0], grid.element, grid.elements, has_parts=_has_parts(settings)),
        describe_adjustment(fits[0], settings.get("matrix", {}), has_parts=_has_parts(settings)),
        _decomposition(fits, solver, grid),
        _missing(fits, grid),
        _selection(settings.get("selection", {}), choice, grid),
        _reliability(settings, grid),
        _anatomy(settings.get("report", {}).get("atlas")) if located else "",
        _quality() if qualified else "",
        _associations(associations, fits[0]["Versions"]),
        _software(fits[0]["Versions"], settings.get("execution", {}).get("engine", "local")),
    ]
    keys: list[str] = []
    finished = tuple(_cited(text, keys) for text in paragraphs if text)
    return Methods(
        finished,
        tuple(REFERENCES[key] for key in keys),
        "\n\n".join(REFERENCES[key].bibtex(key) for key in keys),
    )


def _has_parts(settings: Mapping[str, Any]) -> bool:
    selection = settings.get("selection", {})
    return any(selection.get(key) for key in ("n_splits", "leave_out", "n_bootstraps"))


def _cited(text: str, keys: list[str]) -> str:
    """Replace the keys in brackets by citations, and add new keys to ``keys``."""

    def cite(match: re.Match[str]) -> str:
        found = match[1].split(", ")
        keys.extend(key for key in found if key not in keys)
        return "(" + "; ".join(REFERENCES[key].cited for key in found) + ")"

    return CITATION.sub(cite, text)


def _images(
    fit: Mapping[str, Any],
    mask: Mapping[str, Any],
    grid: GridFacts,
    entities: Mapping[str, str],
    *,
    only_brain: bool,
) -> str:
    done = fit.get("Preprocessing", {})
    is_smoothed = done.get("smoothing_fwhm") or not grid.in_space
    steps = [] if is_smoothed else ["without further smoothing"]
    if fwhm := done.get("smoothing_fwhm"):
        steps.append(f"smoothed with a Gaussian kernel of {fwhm:g} mm full width at half maximum")
    if done.get("resample") or done.get("voxel_size"):
        steps.append("resampled to a common grid by linear interpolation")
    if done.get("negative") == "clip":
        steps.append("with negative values set to zero")
    prepared = f", {' and '.join(steps)}" if steps else ""
    rule = _mask(mask) if mask else "of the analysis mask"
    if only_brain:
        rule += ", within the brain mask of the MNI152 template [fonov2011],"
    if fit.get("Measures", {}).get("Stack") == "subjects":
        rule += " in every measure"
    size = " × ".join(f"{edge:g}" for edge in grid.spacing)
    number = f"{fit['NumberOfVoxels']:,} " if "NumberOfVoxels" in fit else ""
    shift = (
        f" The smallest value of the matrix, {fit['Shift']:g}, was subtracted from all values."
        if fit.get("Shift") and "Measures" not in fit
        else ""
    )
    if "Rounding" in fit:
        shift += (
            " Values were stored in half precision (float16), which changed them by "
            f"{fit['Rounding']:.1g} of their norm."
        )
    used, values = grid.words.used, "values"
    if "Change" in fit:
        used, values = grid.words.used_twice, "changes"
    if "Measures" in fit:
        names = fit["Measures"]["Names"]
        used = f"{len(names)} measures ({_enumerated(names)}) of each of {{n}} subjects were used"
    return (
        f"{_modality(entities)}{used.format(n=n_subjects_of(fit))}{prepared}. "
        f"The {values} in the {number}{grid.elements}"
        f"{f' ({size} mm)' if size else ''} {rule} formed a non-negative "
        f"{grid.element}-by-subject matrix X.{shift}"
    )


def _missing(fits: Sequence[Mapping[str, Any]], grid: GridFacts) -> str:
    """Say how missing values were treated; return an empty text if none were allowed."""
    fit = fits[0]
    if fit.get("Preprocessing", {}).get("nan") != "masked":
        return ""
    number = ""
    if "MissingValues" in fit:
        share = fit["MissingValues"] / (fit["NumberOfVoxels"] * fit["NumberOfSubjects"])
        number = f" ({share:.2%} of the matrix)"
    return (
        f"Missing values{number} had no influence on the components: they were replaced by WH, "
        "where H are the non-negative loadings with the least error over the observed values of "
        "each subject, and the fit was repeated until this error no longer decreased [kiers1997]. "
        "Reconstruction errors and explained variances are those of the observed values. "
        f"{grid.elements.capitalize()} that were missing in more than half of the subjects were "
        "excluded."
    )


def _mask(mask: Mapping[str, Any]) -> str:
    subjects = mask.get("n_subjects") or f"{mask['coverage']:.0%} of the"
    return MASKS[mask["method"]].format(**mask, subjects=subjects)


def _modality(entities: Mapping[str, str]) -> str:
    """Say what the images show and in which space, as far as their names tell it."""
    suffix, label = entities.get("suffix", ""), entities.get("label", "")
    space = f" in the space {entities['space']}" if "space" in entities else ""
    if not suffix:
        return f"The images were{space}. " if space else ""
    named = [f"{name}-{entities[name]}" for name in ("label", "desc") if name in entities]
    name = "_".join([*named, suffix])
    kind = f"{TISSUES[label]} maps" if label in TISSUES else KINDS.get(suffix)
    what = f"{kind} (BIDS name: {name})" if kind else f"files with the BIDS name {name}"
    return f"The images were {what}{space}. "


def _decomposition(fits: Sequence[Mapping[str, Any]], solver: str, grid: GridFacts) -> str:
    options = fits[0]["Settings"]
    ks = _enumerated([str(fit["NumberOfComponents"]) for fit in fits])
    named = {"element": grid.element, "elements": grid.elements}
    found_by = solver.format_map({**options, "init": INITS[options["init"]], **named})
    ended = [fit for fit in fits if "Converged" in fit]
    open_ended = [str(fit["NumberOfComponents"]) for fit in ended if not fit["Converged"]]
    end = (
        ""
        if not ended
        else f" The fit with {_enumerated(open_ended)} components stopped before it had converged."
        if open_ended
        else " All fits converged."
        if len(fits) > 1
        else " The fit converged."
    )
    return (
        "X was factorized by orthonormal projective non-negative matrix factorization (OPNMF) "
        f"[yang2010, sotiras2015] into {ks} components. The components are the columns of a "
        f"non-negative {grid.element}-by-component matrix W, for which ‖X − WWᵀX‖ is small and "
        "WᵀW is close to the identity matrix. The loadings of the subjects are H = WᵀX. The "
        "explained variance is R² = 1 − ‖X − WWᵀX‖² / ‖X − x̄1ᵀ‖², where x̄ is "
        f"{grid.words.mean}. " + found_by + end
    )


def _selection(
    selection: Mapping[str, Any], choice: Mapping[str, Any] | None, grid: GridFacts
) -> str:
    sentences = []
    if candidates := selection.get("candidates"):
        listed = _enumerated([str(k) for k in candidates])
        sentences.append(f"Fits with {listed} components were compared.")
    if split := _splits(selection):
        sentences.append(
            f"Reproducibility was measured {split}. Both parts were factorized independently, each "
            "from a random start of its own. The measures were the mean inner product of matched "
            "components of both parts [sotiras2017], matched to maximize this mean [kuhn1955], and "
            "the adjusted Rand index [hubert1985] of the winner-takes-all maps, which assign each "
            f"{grid.element} to the component with the largest weight."
        )
        if selection.get("shared_start"):
            sentences.append(
                "For comparison, both parts were also factorized from the start of the fits of all "
                "subjects."
            )
    if n := selection.get("n_starts"):
        sentences.append(
            f"Fits of all subjects from {n} random starts were compared by the inner product of "
            "matched components and the adjusted Rand index, to measure how much the components "
            "depend on the start."
        )
    n, compact = selection.get("n_null"), "compact " if grid.has_coordinates else ""
    has_null = grid.has_coordinates or not grid.in_space
    if n and has_null and (split or selection.get("n_starts")):
        sentences.append(
            f"The agreement expected by chance was that of {n} pairs of random label maps for each "
            f"comparison, with {compact}parts of the same sizes and components with the same "
            "weights."
        )
    if n := selection.get("n_permutations"):
        data = "a null data set" if n == 1 else f"{n} null data sets"
        sentences.append(
            f"Fits of {data}, with the {grid.elements} shuffled within each subject, measured the "
            "decrease of the error per component that is expected by chance."
        )
    if choice:
        criterion = f": {choice['criterion']}" if "criterion" in choice else ""
        sentences.append(f"One number was chosen by the rule {choice['rule']}{criterion}.")
        sentences.append(
            f"No number was clearly better by this rule; {choice['k']} components were used by "
            "convention."
            if choice.get("flat")
            else f"This rule chose {choice['k']} components."
        )
    return " ".join(sentences)


def _reliability(settings: Mapping[str, Any], grid: GridFacts) -> str:
    """Describe the comparison of maps with resamples; return an empty text if there is none."""
    selection = settings.get("selection", {})
    is_split, n_bootstraps = bool(_splits(selection)), selection.get("n_bootstraps", 0)
    mapped = settings.get("decomposition", {}).get("n_components")
    if not mapped or not (is_split or n_bootstraps):
        return ""
    fits = (
        f"fits of {n_bootstraps} bootstrap samples of the subjects"
        if n_bootstraps
        else "fits of the other groups"
        if selection.get("leave_out")
        else "fits of the halves"
    )
    sentences = [
        "The parts of other fits were matched one to one with those of the fit of all subjects "
        "[kuhn1955].",
        f"The stability of a {grid.element} was the share of the {fits} that assigned it to the "
        "same component as the fit of all subjects.",
    ]
    if is_split:
        compact = "compact " if grid.has_coordinates else ""
        by_chance = f", and compared with that of random {compact}parts of the same sizes"
        sentences.append(
            "The reproducibility of a component was the Dice coefficient of its parts in the two "
            f"sides of a split of the cohort{by_chance if selection.get('n_null') else ''}."
        )
    return " ".join(sentences)


def _splits(selection: Mapping[str, Any]) -> str:
    """Describe the splits of the cohort; return an empty text if there are none."""
    if column := selection.get("leave_out"):
        return f"by leaving out the subjects of each {column} in turn, compared with all others"
    if not (n := selection.get("n_splits")):
        return ""
    balanced = _enumerated(selection.get("stratify", []))
    together = selection.get("groups")
    return (
        f"on {n} random division{'s' if n > 1 else ''} of the cohort into halves (seed "
        f"{selection.get('random_state', 0)}"
        + (f"; balanced for {balanced}" if balanced else "")
        + (f"; subjects with the same {together} in the same half" if together else "")
        + ")"
    )


def _anatomy(given: str | None) -> str:
    atlas = (
        f"of the atlas {PurePath(given).name}"
        if given
        else "of the Desikan-Killiany atlas [desikan2006] and of the subcortical segmentation of "
        "FreeSurfer [fischl2002], drawn on an average of 35 people in MNI152 space "
        "[postelnicu2009]; each region was enlarged by up to 4 mm into white matter and 2 mm into "
        "background"
    )
    return (
        f"The components were described by the regions {atlas}. The overlap of a component and a "
        "region is the share of the weight of the component that is in the region. The components "
        "were named after the regions that have most of their weight."
    )


def _quality() -> str:
    return (
        "A subject counted as an outlier if the logarithm of its relative reconstruction error, "
        f"‖x − Wh‖ / ‖x‖, was {RULE} [leys2013]."
    )


def _associations(facts: AssociationFacts | None, versions: Mapping[str, str]) -> str:
    """Describe the models of covariates; return an empty text if there are none."""
    if facts is None or not facts.covariates:
        return ""
    names = _enumerated(list(facts.covariates))
    measures = [text for name, text in EFFECTS.items() if (facts.table["measure"] == name).any()]
    adjusted = facts.table[facts.table["model"] == ADJUSTED]
    together = _enumerated([str(name) for name in adjusted["covariate"].unique()])
    software = f"statsmodels {versions.get('statsmodels', '')}".strip()
    return (
        f"Associations of the loadings on each component with {names} were described by linear "
        f"models (ordinary least squares, {software}) with one covariate each [seabold2010]"
        + (f", and by one model with {together} together" if together else "")
        + f". Effect sizes are {_enumerated(measures)}, with 95% confidence intervals for "
        "correlations and differences. p-values were corrected over the components by the false "
        "discovery rate [benjamini1995]."
        + (" Standard errors were cluster-robust by subject." * (CLUSTER_NOTE in facts.notes))
    )


def _software(versions: Mapping[str, str], engine: str) -> str:
    used = [text.format(versions[name]) for name, text in LIBRARIES.items() if name in versions]
    by_engine = (
        ", as a workflow of " + ENGINES[engine].format(version=versions.get(engine, "")).strip()
        if engine in ENGINES
        else ""
    )
    own = f"opnmf-pipeline {versions.get('opnmf-pipeline', '')}".strip()
    python = f"Python {versions['python']}" if "python" in versions else "Python"
    libraries = f" with {_enumerated(used)}" if used else ""
    return f"The analysis was run with {own} on {python}{libraries}{by_engine}."


def _enumerated(items: Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
