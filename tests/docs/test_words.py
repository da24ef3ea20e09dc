"""Texts for users avoid wordings that readers did not understand at first reading."""

import re

import pytest

from tests.conftest import ROOT

WORDINGS = {
    r"mend(s|ed|ing)?": "'fix' is the common word",
    r"anew": "write 'again', or name the action: 'rewrite', 'rebuild'",
    r"lest": "write 'so that ... not'",
    r"meanwhile": "say when: 'inside the with block', 'during the run'",
    r"hardly": "'hardly' is often read as 'strongly'; write 'only a little' or 'almost not'",
    r"for ?ever": "say how long",
    r"whatever": "write 'any', or list the cases",
    r"of which": "start a new sentence with the subject",
    r"that have not": "say what is missing: 'that are not finished', 'without ...'",
    r"stands? (twice|more than once)": "write 'duplicate'",
    r"stands? side by side|side by side": "write 'in parallel', 'next to each other' or 'together'",
    r"stands? still": "write 'stationary point'",
    r"point of rest": "write 'stationary point'",
    r"stands? out of": "write 'is larger than' or 'is clearly better than'",
    r"(CPUs|memory|what) (that )?(is|are) free": "write 'available to the process' or 'to the job'",
    r"go(es)? together": "write which one requires the other",
    r"go(es)? on (from|where|with)": "write 'continues'",
    r"belongs? together( any more)?": "name the group, and what is done with it",
    r"get alike": "write 'balanced across halves'",
    r"is of the (participant|group) level": "write 'applies only to the ... level'",
    r"mirror image is a row": "write 'whose mirror voxel is in the mask'",
    r"waits? for nothing": "write 'without dependencies'",
    r"data without structure": "write 'null data'",
    r"(cannot|could not|is not) to be had": "write 'is not available'",
    r"in the words of": "say what is the same: names, arguments, terms",
    r"side-cars?": "the term of BIDS is 'sidecar'",
}
"""Regular expression of a wording to avoid, and the reason or a better wording."""

ROOMS = (
    "*.md",
    "Makefile",
    ".ci/run",
    "benchmarks/*",
    "configs/*",
    "containers/*",
    "docs/*",
    "docs/_ext/*",
    "docs/_static/*.css",
    "docs/decisions/*",
    "docs/examples/*",
    "docs/howto/*",
    "docs/reference/*",
    "opnmf_pipeline/*.py",
    "opnmf_pipeline/adjustment/*.py",
    "opnmf_pipeline/cli/*.py",
    "opnmf_pipeline/config/*.py",
    "opnmf_pipeline/dataset/*.py",
    "opnmf_pipeline/decomposition/*.py",
    "opnmf_pipeline/engines/*.py",
    "opnmf_pipeline/estimators/*.py",
    "opnmf_pipeline/images/*.py",
    "opnmf_pipeline/images/volumes/*.py",
    "opnmf_pipeline/images/volumes/desikan_killiany/README.md",
    "opnmf_pipeline/nodes/*.py",
    "opnmf_pipeline/reporting/*.py",
    "opnmf_pipeline/reporting/niivue/README.md",
    "opnmf_pipeline/reporting/templates/*",
    "opnmf_pipeline/reporting/volumes/*.py",
    "opnmf_pipeline/runs/*.py",
    "opnmf_pipeline/selection/*.py",
    "opnmf_pipeline/stages/*.py",
    "pydra/tasks/opnmf/*.py",
    "workflows/*",
)
"""Files whose texts were read with this list. To check a further folder, add it here."""

TEXT = {".md", ".rst", ".py", ".yaml", ".sh", ".sbatch", ".css", ".jinja", ".js", ".def", ""}
"""Suffixes of text files; Makefile, Dockerfile and .ci/run have none."""

PRINTED = {"benchmarks/RANKS.md", "benchmarks/selection.md"}
"""Results with the output of an earlier version, which stays as it was printed."""

LINE_BREAK = re.compile(r"""["']?\s*\n\s*(?:[#*]\s*|[rf]?["'])?""")
"""A line break inside a paragraph, a comment or a string of several lines."""


def files(room):
    return sorted(
        path
        for path in ROOT.glob(room)
        if path.is_file()
        and path.suffix in TEXT
        and path.relative_to(ROOT).as_posix() not in PRINTED
    )


def found(text):
    """Return the wordings to avoid in a text, each with its context and reason."""
    line = " ".join(LINE_BREAK.sub(" ", text).split())
    return [
        f"...{line[max(0, match.start() - 30) : match.end() + 30]}...: {reason}"
        for wording, reason in WORDINGS.items()
        for match in re.finditer(rf"\b(?:{wording})\b", line, re.IGNORECASE)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_files(room):
    assert files(room)


@pytest.mark.parametrize("room", ROOMS)
def test_no_wording_that_was_not_understood(room):
    problems = [
        f"{path.relative_to(ROOT)}: {problem}"
        for path in files(room)
        for problem in found(path.read_text(encoding="utf-8"))
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "text",
    [
        "the CPUs that are free",
        "the key 'mask' stands twice",
        "MESSAGE = (\n    'the key stands '\n    f'twice: {key}'\n)",
        "# rows are written, lest results\n# go together",
        "It writes messages to a file meanwhile.",
        "fix it; Mend the cause",
    ],
)
def test_a_wording_is_found(text):
    assert found(text)


@pytest.mark.parametrize("text", ["both factors are free", "we recommend this", "amended"])
def test_other_words_are_allowed(text):
    assert not found(text)
