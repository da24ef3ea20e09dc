"""What holds for every engine: the same bytes, nothing computed twice, one failure kept small."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.exceptions import ExitCode, OPNMFError
from opnmf_pipeline.runs.run import run

pytestmark = pytest.mark.filterwarnings(
    "ignore::opnmf_pipeline.exceptions.ConvergenceWarning", "ignore:Too many cuts"
)

ENGINES = ["local", "nipype", "pydra"]
OTHERS = ENGINES[1:]
STAGES = [
    "mask",
    "matrix",
    *(f"{name}, k = {k}" for k in (3, 2) for name in ("decompose", "maps", "associations")),
    "select",
    "quality",
    "report",
]
SPACE = "space: MNI152, according to space-MNI152 in the file names"
STUDY = [
    "selection.candidates=[2, 3, 4]",
    "selection.n_splits=2",
    "selection.stratify=age",
    "selection.shared_start=true",
    "selection.n_starts=2",
    "selection.n_bootstraps=2",
    "selection.n_permutations=1",
    "report.covariates=[age, score]",
]


def results(folder):
    """Content of what two equal runs must agree on: no times, no logs, nothing in between."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("group", "figures", "participants.tsv", "dataset_description.json")
        for path in [folder / part, *(folder / part).rglob("*")]
        if path.is_file()
    }


def fits(folder):
    """Content of W and H of every fit of the whole cohort, by k and start."""
    found = {}
    for path in folder.glob("work/**/factorization.json"):
        info = json.loads(path.read_text())
        files = [path.with_name(name).read_bytes() for name in ("W.npy", "H.npy")]
        start = (info["Settings"]["init"], info["Settings"]["random_state"])
        found[info["NumberOfComponents"], *start] = files
    return found


@pytest.fixture(scope="module")
def full(module_study):
    """A run of each engine with all but pictures: (summary, lines)."""
    return {engine: module_study.run(engine, *STUDY) for engine in ENGINES}


@pytest.mark.parametrize("engine", OTHERS)
def test_engines_give_the_same_bytes(full, module_study, engine):
    expected, found = (results(module_study.out(name)) for name in ("local", engine))
    assert len(expected) == 45
    assert set(found) == set(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_covariates_and_their_descriptions_reach_the_models(full, module_study):
    """Those of the other engines have the same bytes."""
    text = (module_study.out("local") / "group/desc-opnmfK3_associations.json").read_text()
    assert json.loads(text)["NotUsed"] == {
        "site": "not named in report.covariates",
        **dict.fromkeys(["age", "score"], "8 subjects have a value; 10 are needed"),
    }


@pytest.mark.parametrize("engine", OTHERS)
def test_engines_give_the_same_fits(full, module_study, engine):
    expected = fits(module_study.out("local"))
    starts = [("nndsvd", 0), ("random", 1), ("random", 2)]
    assert sorted(expected) == [(k, *start) for k in (2, 3, 4) for start in starts]
    assert fits(module_study.out(engine)) == expected


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_comparison_without_maps_gives_the_same_bytes(study, engine):
    ks = ["decomposition.n_components=[]", "selection.candidates=[2, 3]"]
    for name in ("local", engine):
        run(study.config(name, "selection.n_splits=1", *ks))
    expected = results(study.out("local"))
    assert "group/desc-opnmf_metrics.tsv" in expected
    assert results(study.out(engine)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("engine", OTHERS)
def test_engines_draw_the_same_pictures(study, engine):
    pictures = []
    for name in ("local", engine):
        study.run(name, "report.figures=true", "decomposition.n_components=2")
        found = results(study.out(name))
        pictures.append({path: found[path] for path in found if path.startswith("figures/")})
    assert len(pictures[0]) == 2
    assert pictures[1] == pictures[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_one_line_for_each_stage_in_the_same_words(full, engine):
    _, lines = full[engine]
    _, local_lines = full["local"]
    assert sorted(lines) == sorted(local_lines)
    assert len(lines) == 2 + 2 + 1 + 3 + 2 * 2 + 1 + 3 * (2 + 2 + 2 + 1) + 2 * (2 + 1) + 1 + 1


@pytest.mark.parametrize("engine", ENGINES)
def test_order_of_the_numbers_of_components(full, engine):
    summary, _ = full[engine]
    assert summary.metrics["n_components"].tolist() == [2, 3, 4]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_computed_again(study, engine):
    """Nothing in a second run or for a new time; one fit for a new k; all for a new image."""
    first, _ = study.run(engine)
    assert sorted(first.computed) == sorted(STAGES)
    before = results(study.out(engine))

    os.utime(study.cohort.images[0], (1, 1))
    again, lines = study.run(engine)
    assert again.computed == []
    assert sorted(lines) == sorted(
        ["collect: 8 subjects", SPACE, *(f"{stage}: reused" for stage in STAGES)]
    )
    assert results(study.out(engine)) == before

    more, _ = study.run(engine, "decomposition.n_components=[3, 2, 4]")
    assert sorted(more.computed) == [
        "associations, k = 4",
        "decompose, k = 4",
        "maps, k = 4",
        "report",
        "select",
    ]
    assert more.metrics["n_components"].tolist() == [2, 3, 4]

    study.cohort.damage(0, study.cohort.values[0] * 1.1)
    changed, lines = study.run(engine, "output.overwrite=true")
    assert sorted(changed.computed) == sorted(STAGES)
    assert not [line for line in lines if "reused" in line]
    assert results(study.out(engine)) != before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_study_computes_only_what_is_new(study, engine):
    study.run(engine, *STUDY)
    more, _ = study.run(
        engine,
        *STUDY,
        "selection.candidates=[4, 1, 2, 3]",
        "selection.n_splits=3",
        "selection.n_starts=3",
        "selection.n_permutations=2",
        "output.overwrite=true",
    )
    new = set()
    for halves in ("halves", "shared"):
        new |= {f"{halves}, k = {k}, split 3" for k in (2, 3, 4)}
        new |= {f"{halves}, k = 1, split {number}" for number in (1, 2, 3)}
    new |= {f"start, k = {k}, seed 3" for k in (2, 3, 4)}
    new |= {f"start, k = 1, seed {seed}" for seed in (1, 2, 3)}
    new |= {f"permuted, k = {k}, seed 1" for k in (2, 3, 4)}
    new |= {"permuted, k = 1, seed 0", "permuted, k = 1, seed 1"}
    new |= {f"reliability, k = {k}" for k in (2, 3)}  # of more halves, and of the same samples
    assert set(more.computed) == new | {"splits", "decompose, k = 1", "select", "report"}
    assert more.metrics["n_splits"].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failing_k_leaves_the_others(study, engine, each_fit):
    def fail(k):
        if k == 3:
            raise MemoryError("no memory for three")

    each_fit(fail)
    with pytest.raises((OPNMFError, MemoryError), match="no memory for three") as raised:
        study.run(engine)
    out = study.out(engine)
    assert list(out.glob("group/*K2_components.nii.gz"))
    assert not list(out.glob("group/*K3*"))
    metrics = pd.read_csv(out / "group" / "desc-opnmf_metrics.tsv", sep="\t")
    assert metrics["n_components"].tolist() == [2]
    assert json.loads((out / "logs" / "run.json").read_text())["Status"] == "failed"
    if engine != "local":
        assert raised.value.exit_code == ExitCode.INPUT
        assert "decompose, k = 3: MemoryError: no memory for three" in str(raised.value)
        assert str(out / "work") in str(raised.value)

    each_fit(lambda k: None)
    mended, lines = study.run(engine)
    assert [name for name in mended.computed if "k = " in name] == [
        "decompose, k = 3",
        "maps, k = 3",
        "associations, k = 3",
    ]
    assert "decompose, k = 2: reused" in lines
    whole = study.run("local", f"output.dir={study.root / 'whole'}")[0].outputs.root
    assert results(out) == results(whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_k_that_is_too_large_stops_no_other(study, engine):
    """As many subjects as components, but a mask with fewer voxels."""
    means = np.sort(study.cohort.values.mean(axis=0), axis=None)
    threshold = float(means[-7:-5].mean())  # six voxels
    few = [f"mask.threshold={threshold}", "decomposition.n_components=[2, 8]"]
    with pytest.raises(OPNMFError, match="k = 8: the mask has only 6 elements") as raised:
        study.run(engine, *few)
    assert raised.value.exit_code == ExitCode.INPUT
    assert list(study.out(engine).glob("group/*K2_components.nii.gz"))
    summary, lines = study.run(
        engine, few[0], "decomposition.n_components=[2, 4]", "output.overwrite=true"
    )
    assert sorted(summary.computed) == [
        "associations, k = 4",
        "decompose, k = 4",
        "maps, k = 4",
        "report",
        "select",
    ]
    assert "decompose, k = 2: reused" in lines


@pytest.mark.parametrize("engine", ENGINES)
def test_the_whole_message_of_a_bad_image_comes_through(study, engine):
    study.cohort.damage(2, -study.cohort.values[2])
    with pytest.raises(OPNMFError) as info:
        study.run(engine)
    message = str(info.value)
    assert "sub-03" in message
    assert "negative of" in message
    assert "set matrix.negative: clip (to 0) or shift" in message
