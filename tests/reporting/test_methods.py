import re

import numpy as np
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig
from opnmf_pipeline.decomposition.initialization import INITS
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.images.space import WORDS
from opnmf_pipeline.images.tables.grid import Grid as Features
from opnmf_pipeline.images.volumes import Grid
from opnmf_pipeline.reporting import methods as methods_module
from opnmf_pipeline.reporting.methods import describe_methods
from opnmf_pipeline.reporting.references import REFERENCES

DOI = re.compile(r"10\.\d{4,9}/\S+")


VOXELS = Grid((60, 70, 60), np.diag([3.0, 3.0, 3.0, 1.0]))


class Vertices:
    """Of a mesh whose coordinates are not known, such as fsLR 32k."""

    words, element, elements, spacing = WORDS, "vertex", "vertices", ()
    in_space, has_coordinates = True, False


def describe(
    solver="multiplicative",
    mask="mean",
    *,
    grid=VOXELS,
    settings=None,
    choice=None,
    located=False,
    only_brain=False,
    entities=None,
    **fit,
):
    info = {
        "NumberOfComponents": 20,
        "NumberOfVoxels": 75120,
        "NumberOfSubjects": 162,
        "Settings": DecompositionConfig(solver=solver).of_each_fit(),
        "Versions": {"python": "3.11.7", "opnmf-pipeline": "0.1.0", "numpy": "2.0"},
        "Preprocessing": {"smoothing_fwhm": 8.0, "negative": "error", "nan": "error"},
        "Shift": 0.0,
        "Converged": True,
    } | fit
    masks = MaskConfig.model_construct(method=mask, threshold=0.1, coverage=0.9).model_dump()
    return describe_methods(
        [info],
        {"mask": masks, **(settings or {})},
        grid,
        choice,
        solver=SOLVERS[solver].methods,
        qualified=True,
        located=located,
        only_brain=only_brain,
        entities=entities or {},
    )


def keys(methods):
    return re.findall(r"^@\w+\{(\w+),", methods.bibtex, re.MULTILINE)


@pytest.mark.parametrize(
    ("solver", "cited", "not_cited"),
    [
        ("multiplicative", {"yang2010", "sotiras2015", "boutsidis2008"}, {"pompili2014"}),
        ("orthonormal", {"yang2010", "sotiras2015", "pompili2014"}, {"kim2011"}),
        ("accelerated", {"yang2010", "sotiras2015", "kim2011"}, {"pompili2014"}),
    ],
)
def test_what_a_solver_cites(solver, cited, not_cited):
    found = set(keys(describe(solver)))
    assert cited <= found
    assert not not_cited & found


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_has_its_sentences_and_references(solver):
    assert SOLVERS[solver].references
    assert set(SOLVERS[solver].references) <= set(keys(describe(solver)))
    words = re.split(r"[{[]", SOLVERS[solver].methods)[0]
    assert len(words) > 20
    assert words in " ".join(describe(solver).paragraphs)


def test_every_start_has_its_words():
    assert set(methods_module.INITS) == set(INITS) - {"custom"}


@pytest.mark.parametrize("mask", ["mean", "coverage", "template", "image"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_nothing_is_left_open(solver, mask):
    methods = describe(solver, mask)
    text = " ".join(methods.paragraphs)
    assert not re.search(r"[{}\[\]]|None|nan", text)
    assert "  " not in text
    assert keys(methods) == list(dict.fromkeys(keys(methods)))
    for reference in methods.references:
        assert reference.cited in text


def test_the_numbers_that_were_used():
    text = " ".join(describe(settings={"selection": {"n_splits": 5, "random_state": 3}}).paragraphs)
    for expected in (
        "162 subjects was used, smoothed with a Gaussian kernel of 8 mm",
        "75,120 voxels (3 \u00d7 3 \u00d7 3 mm) whose mean over the subjects was above 0.1",
        "below 1e-05, or for at most 50,000 iterations",
        "on 5 random divisions of the cohort into halves (seed 3)",
        "opnmf-pipeline 0.1.0 on Python 3.11.7 with NumPy 2.0 (Harris et al., 2020).",
    ):
        assert expected in text


def test_what_was_used_of_a_table():
    features = Features(("lh_insula", "rh_insula"))
    text = " ".join(describe(mask="all", grid=features, NumberOfVoxels=2).paragraphs)
    for expected in (
        "For each of 162 subjects, one value per feature was used",
        "The values in the 2 features that were not zero in all subjects formed",
        "where x̄ is the mean of each feature.",
    ):
        assert expected in text
    changed = {"Settings": {"from_session": "ses-1", "to_session": "ses-2"}}
    text = " ".join(describe(mask="all", grid=features, Change=changed).paragraphs)
    assert "For each of 162 subjects, two values per feature were used" in text
    assert "table" not in text


def test_the_brain_mask_is_named_and_cited():
    found = describe(only_brain=True)
    text = " ".join(found.paragraphs)
    assert "above 0.1, within the brain mask of the MNI152 template (Fonov et al., 2011), f" in text
    assert "fonov2011" in keys(found)
    assert "brain mask" not in " ".join(describe().paragraphs)


def test_a_number_of_subjects_of_the_mask():
    mask = MaskConfig(method="coverage", threshold=0, n_subjects=5).model_dump()
    text = " ".join(describe(settings={"mask": mask}).paragraphs)
    assert "with a value above 0 in at least 5 subjects formed" in text


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_space_names_its_elements(solver):
    selection = {"n_splits": 5, "n_permutations": 2}
    methods = describe(solver, grid=Vertices(), settings={"selection": selection})
    text = " ".join(methods.paragraphs)
    assert "75,120 vertices whose mean over the subjects" in text
    assert "vertex-by-subject matrix" in text
    assert "voxel" not in text.lower()


def test_how_the_cohort_was_split_and_a_number_chosen():
    selection = {"candidates": [2, 4, 8], "n_splits": 10, "stratify": ["age", "sex"]}
    selection |= {"groups": "family", "n_permutations": 2, "random_state": 7}
    choice = {"k": 4, "rule": "null-crossing", "criterion": "the last useful k", "flat": False}
    choice |= {"reason": "Because."}
    text = " ".join(describe(settings={"selection": selection}, choice=choice).paragraphs)
    for expected in (
        "Fits with 2, 4 and 8 components were compared.",
        "on 10 random divisions of the cohort into halves (seed 7; balanced for age and sex; "
        "subjects with the same family in the same half)",
        "Fits of 2 null data sets, with the voxels shuffled within each subject,",
        "One number was chosen by the rule null-crossing: the last useful k. "
        "This rule chose 4 components.",
    ):
        assert expected in text
    assert "Because" not in text  # the report gives the reason once, at its head


def test_a_convention_is_not_a_choice():
    choice = {"k": 5, "rule": "weighted", "criterion": "the best", "flat": True, "reason": "So."}
    text = " ".join(describe(choice=choice).paragraphs)
    assert "No number was clearly better by this rule; 5 components were used by convention" in text
    assert "chose 5" not in text


@pytest.mark.parametrize(
    ("entities", "words"),
    [
        (
            {"suffix": "probseg", "label": "GM", "desc": "mod", "space": "MNI152"},
            "The images were grey-matter maps (BIDS name: label-GM_desc-mod_probseg) in the space "
            "MNI152. One image of each",
        ),
        ({"suffix": "thickness"}, "maps of cortical thickness (BIDS name: thickness). One"),
        ({"suffix": "odd"}, "The images were files with the BIDS name odd. One"),
        ({"space": "own"}, "The images were in the space own. One"),
    ],
)
def test_what_the_images_show(entities, words):
    assert words in describe(entities=entities).paragraphs[0]


def test_a_space_of_the_settings_and_images_without_names():
    assert describe().paragraphs[0].startswith("One image of each of 162 subjects")
    text = describe(settings={"output": {"space": "MNI"}}).paragraphs[0]
    assert "The images were in the space MNI." in text
    unsmoothed = describe(Preprocessing={"negative": "error"}).paragraphs[0]
    assert "subjects was used, without further smoothing." in unsmoothed


def test_the_starts_of_halves_and_the_comparison_of_starts():
    def text(**selection):
        return " ".join(describe(settings={"selection": selection}).paragraphs)

    own = "Both parts were factorized independently, each from a random start of its own."
    starts = "Fits of all subjects from 3 random starts were compared by the inner product"
    shared = "both parts were also factorized from the start of the fits of all subjects"
    whole = text(n_splits=5, n_starts=3, shared_start=True)
    assert [words in whole for words in (own, starts, shared)] == [True, True, True]
    plain = text(n_splits=5, n_starts=0, shared_start=False)
    assert [words in plain for words in (own, starts, shared)] == [True, False, False]
    chance = "that of 5 pairs of random label maps for each comparison"
    assert chance in text(n_splits=5, n_null=5)
    assert chance not in text(n_splits=5, n_null=0) + text(n_null=5)
    settings = {"selection": {"n_splits": 5, "n_null": 5}}
    assert chance not in " ".join(describe(grid=Vertices(), settings=settings).paragraphs)
    alone = text(n_starts=3)
    assert [words in alone for words in (own, starts, shared)] == [False, True, False]


def test_sites_that_were_left_out():
    text = " ".join(describe(settings={"selection": {"leave_out": "site"}}).paragraphs)
    assert "by leaving out the subjects of each site in turn" in text


def test_a_fit_that_did_not_converge_is_confessed():
    text = " ".join(describe(Converged=False).paragraphs)
    assert "The fit with 20 components stopped before it had converged." in text


def test_an_engine_is_cited_when_it_ran():
    methods = describe(settings={"execution": {"engine": "nipype"}})
    assert "gorgolewski2011" in keys(methods)
    assert "jarecka2020" not in keys(methods)


@pytest.mark.parametrize("key", REFERENCES)
def test_references_are_whole(key):
    """Form only: that each DOI leads to its work was checked by hand."""
    reference = REFERENCES[key]
    assert reference.address.startswith("https://")
    assert not reference.doi or DOI.fullmatch(reference.doi)
    assert reference.year in reference.cited
    assert reference.authors[0].strip("{}").split(",")[0] in reference.cited
    entry = reference.bibtex(key)
    assert entry.count("{") == entry.count("}")
    assert re.search(r"^  (journal|booktitle|publisher) = ", entry, re.MULTILINE)
    assert "doi = " in entry or "url = " in entry


def test_bibtex():
    assert REFERENCES["kim2011"].bibtex("x").splitlines()[5:8] == [
        "  volume = {33},",
        "  number = {6},",
        "  pages = {3261--3281},",
    ]


def test_the_atlas_is_described_and_cited():
    own, shipped = {"atlas": "/data/own_dseg.nii.gz"}, {"desikan2006", "fischl2002"}
    assert not shipped & set(keys(describe()))
    assert shipped <= set(keys(describe(located=True)))
    given = describe(located=True, settings={"report": own})
    assert "by the regions of the atlas own_dseg.nii.gz. " in " ".join(given.paragraphs)
    assert not shipped & set(keys(given))


@pytest.mark.parametrize(
    ("selection", "words", "has_dice"),
    [
        ({"n_splits": 5, "n_null": 5}, "the share of the fits of the halves that", True),
        ({"leave_out": "site"}, "the share of the fits of the other groups that", True),
        ({"n_bootstraps": 50}, "the share of the fits of 50 bootstrap samples of the", False),
        ({"n_splits": 5, "n_bootstraps": 50}, "of 50 bootstrap samples of the subjects", True),
    ],
)
def test_what_maps_are_compared_with_is_described(selection, words, has_dice):
    mapped = {"n_components": [20]}
    text = " ".join(describe(settings={"selection": selection, "decomposition": mapped}).paragraphs)
    assert words in text
    assert ("the Dice coefficient of its parts" in text) == has_dice
    assert ("random compact parts of the same sizes." in text) == ("n_null" in selection)
    without = " ".join(describe(settings={"selection": selection}).paragraphs)
    assert "stability of a voxel" not in without


def test_missing_values_are_described_only_where_they_are_allowed():
    masked = {"smoothing_fwhm": 8.0, "nan": "masked"}
    text = " ".join(describe(Preprocessing=masked, MissingValues=121694).paragraphs)
    assert "Missing values (1.00% of the matrix) had no influence" in text
    assert "Voxels that were missing in more than half of the subjects were excluded." in text
    assert "Kiers, 1997" in text
    assert "Missing values" not in " ".join(describe().paragraphs)
