import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import nibabel as nb
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.files import read_object
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.stages.associations import write_associations
from opnmf_pipeline.stages.decompose import decompose
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.quality import assess_cohort
from opnmf_pipeline.stages.report import (
    _read_fit,
    _read_quality,
    _solver_facts,
    make_report,
)
from opnmf_pipeline.stages.reportfiles import CohortFiles, FitFiles, SelectionFiles
from opnmf_pipeline.stages.select import select_rank
from opnmf_pipeline.stages.spaces import open_mask
from opnmf_pipeline.tables import as_typed, read_table, write_table
from tests.builders import AFFINE

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

ADDRESS = re.compile(r"(?:src|href)=[\"'](.*?)[\"']|url\((.*?)\)", re.IGNORECASE | re.DOTALL)


class Study:
    """Files of a run on the tiny cohort, k = 3."""

    def __init__(self, cohort, folder):
        def made(name):
            (folder / name).mkdir()
            return folder / name

        images, people = [str(path) for path in cohort.images], cohort.subjects
        self.folder = folder
        self.mask = make_mask(images, folder / "mask.nii.gz", MaskConfig(), MatrixConfig())
        self.matrix = build_matrix(images, people, self.mask, made("matrix"), MatrixConfig())
        fit = decompose(self.matrix, made("fit"), 3, DecompositionConfig(max_iter=20))
        maps = self.maps = write_maps(fit, self.mask, made("maps"))
        selection = select_rank([fit], made("selection"), self.mask)
        self.selection = SelectionFiles.in_folder(selection)
        self.fit = FitFiles(
            fit, maps / "components.nii.gz", maps / "dseg.tsv", maps / "loadings.tsv"
        )
        self.quality = CohortFiles.in_folder(
            assess_cohort(self.matrix, self.mask, made("quality")), self.mask
        )
        self.cohort = folder / "cohort.tsv"
        table = pd.DataFrame({"participant_id": people, "image": images, "sha256": "ab" * 32})
        write_table(table, self.cohort)
        self.info = json.loads(fit.read_text())

    def change(self, **values):
        self.fit.factorization.write_text(json.dumps(self.info | values))

    def place(self, **shares):
        """Set in which tissues all parts are: the tiny images lie deep in white matter."""
        table = as_typed(read_table(self.fit.labels_table))
        others = dict.fromkeys(("white_matter", "csf_or_outside", "rim"), 0.1)
        write_table(table.assign(**(others | shares)), self.fit.labels_table)

    def page(self, figures=False, **options):
        options = {"quality": self.quality, "cohort_file": self.cohort} | options
        out_file = self.folder / "report.html"
        make_report(self.selection, [self.fit], self.mask, out_file, figures=figures, **options)
        return out_file.read_text(encoding="utf-8")


@pytest.fixture
def study(cohort, tmp_path):
    return Study(cohort, tmp_path)


def without_scripts(page):
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_nothing_is_asked_for_from_elsewhere(study):
    page = without_scripts(study.page(figures=True))
    addresses = ["".join(found) for found in ADDRESS.findall(page)]
    pictures = [address for address in addresses if address.startswith("data:image/webp")]
    assert len(pictures) == 4  # loadings, course, maps of the cohort, errors
    others = {address.split(":")[0] for address in addresses if not address.startswith("#")}
    assert others == {"data", "https"}
    assert not re.search(r'src="https', page)  # only links that one may follow
    assert "default-src 'none'" in page


def test_what_comes_from_files_is_escaped(study):
    bad = "<script>alert(1)</script>"
    labels = pd.read_csv(study.fit.labels_table, sep="\t")
    write_table(labels.assign(index=["<b>1</b>", "2", "3"]), study.fit.labels_table)
    runs = [
        {"Date": bad, "Command": bad, "Seconds": 1, "PeakMemoryBytes": 1, "Processes": 1}
        | {"Computed": [], "System": bad}
    ]
    page = study.page(settings=f"inputs: {{table: '{bad}'}}", runs=runs)
    assert bad not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>1</b>" not in page


def test_what_needs_attention_stands_at_the_head(study):
    study.change(NumberOfVoxels=60_000, Converged=False)
    page = study.page()
    head = page[: page.index('id="viewer"')]
    assert "k = 3: the fit did not converge; raise decomposition.max_iter" in head
    assert "nearly empty components, each with less than 0.1% of the mask: component 1 (" in head


def test_a_scan_that_was_entered_twice_is_named(cohort, tmp_path):
    cohort.damage(4, 0.9 * cohort.values[1])  # and scaled
    page = Study(cohort, tmp_path).page()
    assert "Nearly identical images: sub-02 and sub-05 (r = 1.00000)" in page


def test_parts_on_the_rim_need_attention(study):
    study.place(rim=0.75)
    page = study.page()
    assert "k = 3, on the rim of the brain or outside it: component 1 (75%), component 2" in page


def test_the_mask_is_described(study):
    said = "contains the voxels with mean over the subjects &gt; 0.2, within the MNI152 brain mask."
    settings = MaskConfig().settings()
    assert said in study.page(settings=json.dumps({"mask": settings}))
    del settings["within"]  # as in the settings of version 0.1
    assert said not in study.page(settings=json.dumps({"mask": settings}))
    assert "The analysis mask" not in study.page(settings="")


def test_nothing_needs_attention(study):
    study.change(Converged=True)
    study.place()
    page = study.page(quality=None)
    assert "Needs attention" not in page
    assert "Nothing needs attention" in page
    assert "no subject is an outlier" not in page  # nobody looked


def test_the_numbers(study):
    values = {
        "Norm": 10.0,
        "NormAboutMean": 2.0,
        "ReconstructionError": 1.0,
        "LowerBound": 0.5,
        "KKTResidual": 2e-3,
    }
    values |= {"Iterations": 3}
    study.change(Converged=False, **values)
    page = study.page()
    assert "stopped without converging after 3 iterations" in page
    assert "error of 1, which explains 75.0% of the variance about the mean of the subjects" in page
    assert "(R²; 99.0% about zero)." in page
    assert "<dt>R² about the mean</dt><dd>75.0%</dd>" in page
    assert "No factorization into 3 components can have an error below 0.5." in page
    assert "stationary point of the published update (KKT residual) is 2.0e-03" in page

    del study.info["NormAboutMean"]  # as in a fit of version 0.1
    study.change()
    page = study.page()
    assert "R²" not in page[: page.index('id="measures"')]
    assert "which explains" not in page


def test_a_comparison_alone_has_a_page(study):
    out_file = study.folder / "report.html"
    study.change(Converged=False)
    make_report(
        study.selection,
        [],
        study.mask,
        out_file,
        figures=False,
        compared=[read_object(study.fit.factorization)],
        quality=study.quality,
        cohort_file=study.cohort,
    )
    page = out_file.read_text(encoding="utf-8")
    assert "A comparison writes no maps." in page
    assert "k = 3: the fit did not converge" in page
    assert "factorized by orthonormal projective" in page
    explained = as_typed(read_table(study.selection.metrics))["explained_variance"].item()
    assert f"<dt>R² about the mean</dt><dd>{explained:.1%}</dd>" in page
    ids = set(re.findall(r'<section id="(\w+)"', page))
    assert ids == {"summary", "measures", "quality", "methods", "provenance"}
    assert "niivue" not in page.lower()
    assert "outlier" not in page  # without maps, no subject was reconstructed


def test_long_tables_name_the_file_with_all_rows(study, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.reporting.page.MAX_ROWS", 4)
    page = study.page()
    assert "These are the first 4 of 6 rows; the file <code>logs/cohort.tsv</code>" in page
    assert "the file <code>group/desc-opnmf_subjects.tsv</code> has all of them" in page


def test_subjects_without_outliers_are_said_to_have_none(study):
    study.change(Converged=True)
    study.place()
    assert "and no subject is an outlier" in study.page()


def test_the_chosen_number_and_why(study):
    choice, reason = study.folder / "selection" / "selection.json", "Its halves agree best."
    choice.write_text(json.dumps({"k": 3, "rule": "peak", "reason": reason, "flat": True}))
    study.selection = SelectionFiles.in_folder(choice.parent)
    page = study.page()
    assert f"k = 3 is a convention, not a finding. {reason}" in page
    assert "<dt>k by convention</dt><dd>3</dd>" in page
    assert page.count(reason) == 1  # the verdict has one place
    choice.write_text(json.dumps({"k": 3, "rule": "peak", "reason": reason, "flat": False}))
    page = study.page()
    assert f"Chosen: 3 components. {reason}" in page
    assert page.count(reason) == 1
    assert '<th scope="col" class="chosen">k&nbsp;=&nbsp;3</th>' in page


def test_agreement_of_starts_is_in_the_section_of_its_k(study, tmp_path):
    folders = [tmp_path / name for name in ("start1", "start2", "compared")]
    for folder in folders:
        folder.mkdir()
    *starts, compared = folders
    options = DecompositionConfig(max_iter=20)
    fits = [
        decompose(study.matrix, folder, 3, options.from_random_start(number))
        for number, folder in enumerate(starts, start=1)
    ]
    selected = select_rank([study.fit.factorization], compared, study.mask, starts=fits)
    study.selection = SelectionFiles.in_folder(selected)
    page = study.page()
    section = page[page.index('<section id="k3">') :]
    assert "Two random starts on all subjects agree by 1.00 (mean cosine" in section
    assert '<th scope="row" class="text">start label ARI' in page


def test_errors_of_subjects_are_those_of_their_columns(study):
    """The formula from loadings and WᵀW, against the differences themselves."""
    quality = _read_quality(study.quality, open_mask(study.mask), lambda maps: None)
    X = np.load(study.matrix.with_name("matrix.npy")).astype(np.float64)
    W, H = (np.load(study.fit.factorization.with_name(f"{name}.npy")) for name in "WH")
    expected = np.linalg.norm(X - W @ H, axis=0) / np.linalg.norm(X, axis=0)
    found = _read_fit(study.fit, open_mask(study.mask), quality, "", lambda maps: None).errors
    np.testing.assert_allclose(found, expected, atol=3e-5)  # h is known to seven digits
    assert found.index.tolist() == read_cohort(study.cohort)["participant_id"].tolist()


def test_the_viewer_holds_the_components(study):
    page = study.page()
    found = re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(found[1])
    (fit,) = data["fits"]
    image = nb.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(fit["image"])))
    embedded = np.asarray(image.dataobj)
    assert embedded.dtype == np.uint8
    original = np.asarray(nb.load(study.fit.components).dataobj)
    for component, peak in enumerate(fit["peaks"]):
        at_peak = np.rint(np.linalg.solve(image.affine, [*peak, 1])[:3]).astype(int)
        assert embedded[(*at_peak, component)] == 255
        there = np.rint(np.linalg.solve(AFFINE, [*peak, 1])[:3]).astype(int)
        assert original[(*there, component)] == original[..., component].max()


def test_overlap_and_size_of_components(study):
    W = np.load(study.fit.factorization.with_name("W.npy")).astype(np.float64)
    cosines = (W.T @ W) / np.outer(*[np.linalg.norm(W, axis=0)] * 2)
    np.fill_diagonal(cosines, 0)
    page = study.page()
    rows = re.findall(r'data-shows="3/\d".*?</tr>', page, re.DOTALL)
    cells = [re.findall(r"<td>([^<]*)</td>", row) for row in rows]
    assert [float(row[-2]) for row in cells] == [round(value, 3) for value in cosines.max(0)]
    labels = pd.read_csv(study.fit.labels_table, sep="\t")
    assert [int(row[0]) for row in cells] == labels["n_voxels"].tolist()


def test_every_element_is_closed_and_every_picture_described(study):
    class Checker(HTMLParser):
        void = frozenset({"meta", "img", "br", "link", "input"})
        open: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            if tag == "img":
                assert len(dict(attrs)["alt"]) > 20
            if tag not in self.void:
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(study.page(figures=True))
    assert checker.open == []


def test_equal_results_are_equal_bytes(study):
    assert study.page(figures=True) == study.page(figures=True)


def test_little_is_needed(study):
    page = study.page(quality=None, cohort_file=None)
    assert "Quality of the cohort" not in page
    assert "SHA-256" not in page
    assert 'id="viewer-data"' in page


@pytest.mark.parametrize(
    ("solver", "tolerance"),
    [("multiplicative", 1e-5), ("orthonormal", 1e-5), ("accelerated", None)],
)
def test_a_tolerance_is_shown_where_fits_end_by_the_change_of_w(solver, tolerance):
    assert _solver_facts({"solver": solver, "tol": 1e-5}).tolerance == tolerance


def test_digests_of_the_images(study, tmp_path):
    """They are shown with the table of the subjects; a workflow without one has a page too."""
    digests = tmp_path / "digests.json"
    digests.write_text(json.dumps([f"{number:064x}" for number in range(6)]))
    assert f"{3:064x}" in study.page(digests_file=digests)
    assert f"{3:064x}" not in study.page(digests_file=digests, cohort_file=None)


def test_covariates_and_their_associations(study, tmp_path):
    people = [f"sub-{number:02d}" for number in range(1, 25)]
    table = pd.DataFrame({"participant_id": people, "age": range(24), "mood": ["<b>"] * 24})
    loadings = pd.DataFrame({"participant_id": people, "component01": np.arange(24) % 7})
    for name, frame in (("cohort", table), ("loadings", loadings)):
        write_table(frame, tmp_path / f"{name}.tsv")
    folder = write_associations(tmp_path / "loadings.tsv", tmp_path / "cohort.tsv", tmp_path)
    study.fit = replace(study.fit, associations=folder / "associations.tsv")
    page = study.page(cohort_file=None)
    r = np.corrcoef(np.arange(24), np.arange(24) % 7)[0, 1]
    assert f"larger values of age (r = {r:.2f}, 95% interval" in page
    section = page[page.index('id="covariates"') : page.index('id="quality"')]
    assert "<li>age: numeric</li>" in section
    assert "an association is not a cause" in section
    assert 'mood</td><td class="text">participants.json does not describe it' in section
    assert "Associations of the loadings on each component with age were described by" in page
    assert "*" not in section


def test_without_associations_there_is_no_section(study):
    page = study.page()
    assert 'id="covariates"' not in page
    assert "Associations" not in page


def test_names_and_regions_are_shown(study, tmp_path):
    assert "this run had no atlas" in study.page()
    labels = tmp_path / "labels.tsv"
    labels.write_text("index\tname\n1\tthe <i>whole</i> mask\n")
    write_maps(study.fit.factorization, study.mask, study.maps, study.mask, labels)
    study.fit = replace(study.fit, regions=study.maps / "regions.tsv")
    page = study.page()
    assert "this run had no atlas" not in page
    (data,) = re.findall(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)
    titles = json.loads(data)["fits"][0]["titles"]
    assert titles[0] == "component 1: The <i>whole</i> mask (1)"
    assert page.count('<td class="text">The &lt;i&gt;whole&lt;/i&gt; mask (') == 3
    assert page.count('<td class="text">the &lt;i&gt;whole&lt;/i&gt; mask</td>') == 3
    assert page.count("mask</td><td>100</td><td>") == 3
    assert "mask</td><td>100</td><td>100</td>" not in page  # three parts
    assert "Desikan et al., 2006" in page
