"""The references that a report can cite, as text and as BibTeX."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REFERENCES", "Reference"]


@dataclass(frozen=True)
class Reference:
    """A reference.

    Attributes
    ----------
    cited : str
        Citation in the text, such as ``Yang & Oja, 2010``.
    authors : tuple of str
        ``Family, Given``; ``others`` stands for the rest of a long list, as in BibTeX.
    year, title : str
    where : str
        Journal or proceedings.
    numbers : str
        Volume, issue and pages, as in ``21(5), 734–749``; may be empty.
    doi : str
        DOI, not as a link; empty if there is none.
    url : str
        Link, if there is no DOI.
    kind : str
        Type of the BibTeX entry.
    """

    cited: str
    authors: tuple[str, ...]
    year: str
    title: str
    where: str
    numbers: str = ""
    doi: str = ""
    url: str = ""
    kind: str = "article"

    @property
    def address(self) -> str:
        """Link to the reference."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url

    @property
    def text(self) -> str:
        """Entry in the list of references, without the link."""
        authors = "; ".join(self.authors).replace("; others", " et al.").strip("{}")
        numbers = f" {self.numbers}" if self.numbers else ""
        return f"{authors} ({self.year}). {self.title}. {self.where}{numbers}."

    def bibtex(self, key: str) -> str:
        """Return the BibTeX entry."""
        volume, issue, pages = _parts(self.numbers)
        fields = {
            "author": " and ".join(self.authors),
            "title": "{" + self.title + "}",
            "journal" if self.kind == "article" else "booktitle": self.where,
            "year": self.year,
            "volume": volume,
            "number": issue,
            "pages": pages.replace("–", "--"),
            "doi": self.doi,
            "url": self.url,
        }
        if self.kind in ("misc", "book"):
            fields["publisher"] = fields.pop("booktitle")
        lines = [f"  {name} = {{{value}}}" for name, value in fields.items() if value]
        return f"@{self.kind}{{{key},\n" + ",\n".join(lines) + "\n}"


def _parts(numbers: str) -> tuple[str, str, str]:
    """Split ``21(5), 734–749`` into volume, issue and pages."""
    head, _, pages = numbers.partition(", ")
    volume, _, issue = head.rstrip(")").partition("(")
    return volume, issue, pages


REFERENCES = {
    "johnson2007": Reference(
        "Johnson et al., 2007",
        ("Johnson, W. Evan", "Li, Cheng", "Rabinovic, Ariel"),
        "2007",
        "Adjusting batch effects in microarray expression data using empirical Bayes methods",
        "Biostatistics",
        "8(1), 118–127",
        "10.1093/biostatistics/kxj037",
    ),
    "fortin2017": Reference(
        "Fortin et al., 2017",
        ("Fortin, Jean-Philippe", "Parker, Drew", "Tunç, Birkan", "others"),
        "2017",
        "Harmonization of multi-site diffusion tensor imaging data",
        "NeuroImage",
        "161, 149–170",
        "10.1016/j.neuroimage.2017.08.047",
    ),
    "fortin2018": Reference(
        "Fortin et al., 2018",
        ("Fortin, Jean-Philippe", "Cullen, Nicholas", "Sheline, Yvette I.", "others"),
        "2018",
        "Harmonization of cortical thickness measurements across scanners and sites",
        "NeuroImage",
        "167, 104–120",
        "10.1016/j.neuroimage.2017.11.024",
    ),
    "wilkinson1973": Reference(
        "Wilkinson & Rogers, 1973",
        ("Wilkinson, G. N.", "Rogers, C. E."),
        "1973",
        "Symbolic description of factorial models for analysis of variance",
        "Applied Statistics",
        "22(3), 392–399",
        "10.2307/2346786",
    ),
    "yang2010": Reference(
        "Yang & Oja, 2010",
        ("Yang, Zhirong", "Oja, Erkki"),
        "2010",
        "Linear and nonlinear projective nonnegative matrix factorization",
        "IEEE Transactions on Neural Networks",
        "21(5), 734–749",
        "10.1109/TNN.2010.2041361",
    ),
    "sotiras2015": Reference(
        "Sotiras et al., 2015",
        ("Sotiras, Aristeidis", "Resnick, Susan M.", "Davatzikos, Christos"),
        "2015",
        "Finding imaging patterns of structural covariance via non-negative matrix factorization",
        "NeuroImage",
        "108, 1–16",
        "10.1016/j.neuroimage.2014.11.045",
    ),
    "desikan2006": Reference(
        "Desikan et al., 2006",
        ("Desikan, Rahul S.", "Ségonne, Florent", "Fischl, Bruce", "others"),
        "2006",
        "An automated labeling system for subdividing the human cerebral cortex on MRI scans into "
        "gyral based regions of interest",
        "NeuroImage",
        "31(3), 968–980",
        "10.1016/j.neuroimage.2006.01.021",
    ),
    "fischl2002": Reference(
        "Fischl et al., 2002",
        ("Fischl, Bruce", "Salat, David H.", "Busa, Evelina", "others"),
        "2002",
        "Whole brain segmentation: automated labeling of neuroanatomical structures in the human "
        "brain",
        "Neuron",
        "33(3), 341–355",
        "10.1016/S0896-6273(02)00569-X",
    ),
    "postelnicu2009": Reference(
        "Postelnicu et al., 2009",
        ("Postelnicu, Gheorghe", "Zöllei, Lilla", "Fischl, Bruce"),
        "2009",
        "Combined volumetric and surface registration",
        "IEEE Transactions on Medical Imaging",
        "28(4), 508–522",
        "10.1109/TMI.2008.2004426",
    ),
    "patel2020": Reference(
        "Patel et al., 2020",
        (
            "Patel, Raihaan",
            "Steele, Christopher J.",
            "Chen, Anthony G. X.",
            "Patel, Sejal",
            "Devenyi, Gabriel A.",
            "Germann, Jürgen",
            "Tardif, Christine L.",
            "Chakravarty, M. Mallar",
        ),
        "2020",
        "Investigating microstructural variation in the human hippocampus using non-negative "
        "matrix factorization",
        "NeuroImage",
        "207, 116348",
        "10.1016/j.neuroimage.2019.116348",
    ),
    "sotiras2017": Reference(
        "Sotiras et al., 2017",
        (
            "Sotiras, Aristeidis",
            "Toledo, Jon B.",
            "Gur, Raquel E.",
            "Gur, Ruben C.",
            "Satterthwaite, Theodore D.",
            "Davatzikos, Christos",
        ),
        "2017",
        "Patterns of coordinated cortical remodeling during adolescence and their associations "
        "with functional specialization and evolutionary expansion",
        "Proceedings of the National Academy of Sciences",
        "114(13), 3527–3532",
        "10.1073/pnas.1620928114",
    ),
    "boutsidis2008": Reference(
        "Boutsidis & Gallopoulos, 2008",
        ("Boutsidis, Christos", "Gallopoulos, Efstratios"),
        "2008",
        "SVD based initialization: A head start for nonnegative matrix factorization",
        "Pattern Recognition",
        "41(4), 1350–1362",
        "10.1016/j.patcog.2007.09.010",
    ),
    "pompili2014": Reference(
        "Pompili et al., 2014",
        ("Pompili, Filippo", "Gillis, Nicolas", "Absil, P.-A.", "Glineur, François"),
        "2014",
        "Two algorithms for orthogonal nonnegative matrix factorization with application to "
        "clustering",
        "Neurocomputing",
        "141, 15–25",
        "10.1016/j.neucom.2014.02.018",
    ),
    "charikar2021": Reference(
        "Charikar & Hu, 2021",
        ("Charikar, Moses", "Hu, Lunjia"),
        "2021",
        "Approximation algorithms for orthogonal non-negative matrix factorization",
        "International Conference on Artificial Intelligence and Statistics",
        "PMLR 130, 2728–2736",
        "10.48550/arXiv.2103.01398",
    ),
    "kiers1997": Reference(
        cited="Kiers, 1997",
        authors=("Kiers, Henk A. L.",),
        year="1997",
        title="Weighted least squares fitting using ordinary least squares algorithms",
        where="Psychometrika",
        numbers="62(2), 251–266",
        doi="10.1007/BF02295279",
    ),
    "kim2011": Reference(
        "Kim & Park, 2011",
        ("Kim, Jingu", "Park, Haesun"),
        "2011",
        "Fast nonnegative matrix factorization: an active-set-like method and comparisons",
        "SIAM Journal on Scientific Computing",
        "33(6), 3261–3281",
        "10.1137/110821172",
    ),
    "hubert1985": Reference(
        "Hubert & Arabie, 1985",
        ("Hubert, Lawrence", "Arabie, Phipps"),
        "1985",
        "Comparing partitions",
        "Journal of Classification",
        "2(1), 193–218",
        "10.1007/BF01908075",
    ),
    "kuhn1955": Reference(
        "Kuhn, 1955",
        ("Kuhn, H. W.",),
        "1955",
        "The Hungarian method for the assignment problem",
        "Naval Research Logistics Quarterly",
        "2(1–2), 83–97",
        "10.1002/nav.3800020109",
    ),
    "leys2013": Reference(
        "Leys et al., 2013",
        (
            "Leys, Christophe",
            "Ley, Christophe",
            "Klein, Olivier",
            "Bernard, Philippe",
            "Licata, Laurent",
        ),
        "2013",
        "Detecting outliers: Do not use standard deviation around the mean, use absolute "
        "deviation around the median",
        "Journal of Experimental Social Psychology",
        "49(4), 764–766",
        "10.1016/j.jesp.2013.03.013",
    ),
    "fonov2011": Reference(
        "Fonov et al., 2011",
        (
            "Fonov, Vladimir",
            "Evans, Alan C.",
            "Botteron, Kelly",
            "Almli, C. Robert",
            "McKinstry, Robert C.",
            "Collins, D. Louis",
        ),
        "2011",
        "Unbiased average age-appropriate atlases for pediatric studies",
        "NeuroImage",
        "54(1), 313–327",
        "10.1016/j.neuroimage.2010.07.033",
    ),
    "harris2020": Reference(
        "Harris et al., 2020",
        ("Harris, Charles R.", "Millman, K. Jarrod", "van der Walt, Stéfan J.", "others"),
        "2020",
        "Array programming with NumPy",
        "Nature",
        "585, 357–362",
        "10.1038/s41586-020-2649-2",
    ),
    "virtanen2020": Reference(
        "Virtanen et al., 2020",
        ("Virtanen, Pauli", "Gommers, Ralf", "Oliphant, Travis E.", "others"),
        "2020",
        "SciPy 1.0: fundamental algorithms for scientific computing in Python",
        "Nature Methods",
        "17, 261–272",
        "10.1038/s41592-019-0686-2",
    ),
    "lam2015": Reference(
        "Lam et al., 2015",
        ("Lam, Siu Kwan", "Pitrou, Antoine", "Seibert, Stanley"),
        "2015",
        "Numba: A LLVM-based Python JIT compiler",
        "Proceedings of the Second Workshop on the LLVM Compiler Infrastructure in HPC",
        "1–6",
        "10.1145/2833157.2833162",
        kind="inproceedings",
    ),
    "pedregosa2011": Reference(
        "Pedregosa et al., 2011",
        ("Pedregosa, Fabian", "Varoquaux, Gaël", "Gramfort, Alexandre", "others"),
        "2011",
        "Scikit-learn: Machine learning in Python",
        "Journal of Machine Learning Research",
        "12, 2825–2830",
        url="https://jmlr.org/papers/v12/pedregosa11a.html",
    ),
    "nibabel": Reference(
        "Brett et al., 2024",
        ("Brett, Matthew", "Markiewicz, Christopher J.", "Hanke, Michael", "others"),
        "2024",
        "NiBabel (software)",
        "Zenodo",
        doi="10.5281/zenodo.591597",
        kind="misc",
    ),
    "nilearn": Reference(
        "Nilearn contributors, 2023",
        ("{Nilearn contributors}",),
        "2023",
        "Nilearn (software)",
        "Zenodo",
        doi="10.5281/zenodo.8397156",
        kind="misc",
    ),
    "seabold2010": Reference(
        "Seabold & Perktold, 2010",
        ("Seabold, Skipper", "Perktold, Josef"),
        "2010",
        "Statsmodels: econometric and statistical modeling with Python",
        "Proceedings of the 9th Python in Science Conference",
        ", 92–96",
        "10.25080/Majora-92bf1922-011",
        kind="inproceedings",
    ),
    "benjamini1995": Reference(
        "Benjamini & Hochberg, 1995",
        ("Benjamini, Yoav", "Hochberg, Yosef"),
        "1995",
        "Controlling the false discovery rate: a practical and powerful approach to multiple "
        "testing",
        "Journal of the Royal Statistical Society: Series B (Methodological)",
        "57(1), 289–300",
        "10.1111/j.2517-6161.1995.tb02031.x",
    ),
    "hedges1985": Reference(
        "Hedges & Olkin, 1985",
        ("Hedges, Larry V.", "Olkin, Ingram"),
        "1985",
        "Statistical methods for meta-analysis",
        "Academic Press",
        doi="10.1016/C2009-0-03396-0",
        kind="book",
    ),
    "gorgolewski2011": Reference(
        "Gorgolewski et al., 2011",
        (
            "Gorgolewski, Krzysztof",
            "Burns, Christopher D.",
            "Madison, Cindee",
            "Clark, Dav",
            "Halchenko, Yaroslav O.",
            "Waskom, Michael L.",
            "Ghosh, Satrajit S.",
        ),
        "2011",
        "Nipype: a flexible, lightweight and extensible neuroimaging data processing framework in "
        "Python",
        "Frontiers in Neuroinformatics",
        "5, 13",
        "10.3389/fninf.2011.00013",
    ),
    "jarecka2020": Reference(
        "Jarecka et al., 2020",
        ("Jarecka, Dorota", "Goncalves, Mathias", "Markiewicz, Christopher J.", "others"),
        "2020",
        "Pydra - a flexible and lightweight dataflow engine for scientific analyses",
        "Proceedings of the 19th Python in Science Conference",
        ", 132–139",
        "10.25080/Majora-342d178e-012",
        kind="inproceedings",
    ),
}
"""By the key that BibTeX files know them under."""
