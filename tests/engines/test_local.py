"""The local engine on steps that write what they are told: keys, failures, threads, checkpoints."""

from functools import partial

import joblib
import pytest

from opnmf_pipeline.config import ExecutionConfig, PipelineConfig
from opnmf_pipeline.engines import local
from opnmf_pipeline.engines.graph import Each, Every, Given, Graph, Of, Over, Step
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.stages.memory import BASE_BYTES
from opnmf_pipeline.stages.stage import Stage
from tests.engines.conftest import Lines

K = "n_components"
GB = 2**30


def write(call, name, texts):
    """Write one file for each text, and what the call was told beside it."""
    files = []
    for number, text in enumerate(texts):
        files.append(call.folder / f"{name}{number}.txt")
        files[-1].write_text(str(text))
    return {"file": files[0], "files": files, "folder": call.folder}


def made_by(name, run, **options):
    return Stage(name=name, summary="", run=run, inputs={}, outputs={}, folder=name, **options)


def says(text, call):
    """Write a text that does not depend on the inputs."""
    return write(call, "says", [text])


def repeats(call):
    """Write the settings and numbers among the inputs."""
    return write(call, "repeats", [sorted((k, v) for k, v in call.inputs.items() if k != "one")])


def copies(call):
    """Write what a file says that is an input."""
    return write(call, "copies", [call.path("one").read_text()])


def fails_at(k, call):
    if call[K] == k:
        raise MemoryError(f"no memory for {k}")
    return repeats(call)


def counts(call):
    """Write the number of threads."""
    return write(call, "counts", [call.n_procs])


SAYS = made_by("Says", partial(says, "hello"))
REPEATS = made_by("Repeats", repeats)


@pytest.fixture
def compute(tmp_path):
    """Return a function that computes steps and returns the outcome."""

    def compute(*steps, given=(), **execution):
        config = PipelineConfig.model_validate(
            {"inputs": {"bids": "data"}, "execution": {"n_procs": 4, **execution}}
        )
        compute.outcome = Outcome(Lines())
        local.compute(
            Graph.of_steps(steps),
            dict(given),
            config,
            tmp_path / "work",
            compute.outcome,
            Lines(),
        )
        return compute.outcome

    return compute


def texts(outcome, step, output="file"):
    return [path.read_text() for path in outcome.paths(step, output)]


def test_nothing_is_computed_twice(compute):
    steps = [Step("one", SAYS, {}), Step("two", REPEATS, {"one": Of("one", "file"), "setting": 1})]
    assert compute(*steps).computed == ["one", "two"]
    again = compute(*steps)
    assert again.computed == []
    assert texts(again, "two") == ["[('setting', 1)]"]


@pytest.mark.parametrize(
    "source", [Of("one", "file"), Of("one", "folder"), Every((Of("one", "file"),))]
)
def test_the_content_of_outputs_decides_and_not_how_it_came_about(compute, source):
    def steps(text, **settings):
        return [
            Step("one", made_by("One", partial(says, text)), settings),
            Step("two", made_by("Two", repeats), {"one": source}),
        ]

    compute(*steps("same"))
    assert compute(*steps("same", other_setting=1)).computed == ["one"]
    assert compute(*steps("new", other_setting=2)).computed == ["one", "two"]


def test_which_input_has_which_content_decides(compute):
    words = [Step(word, made_by(word, partial(says, word)), {}) for word in ("yes", "no")]
    yes, no = Of("yes", "file"), Of("no", "file")
    compute(*words, Step("two", REPEATS, {"a": yes, "b": no}))
    assert compute(*words, Step("two", REPEATS, {"a": no, "b": yes})).computed == ["two"]
    assert compute(*words, Step("two", REPEATS, {"c": yes, "d": no})).computed == ["two"]


@pytest.mark.parametrize("change", [{"tol": 2}, {"tol": 1, "more": 1}, {"other": 1}])
def test_settings_decide(compute, change):
    compute(Step("one", REPEATS, {"tol": 1}))
    assert compute(Step("one", REPEATS, change)).computed == ["one"]


def test_the_content_of_files_that_are_given_decides(compute, tmp_path):
    step = Step("one", made_by("Copies", copies), {"one": Given("table")})
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("a")
    compute(step, given={"table": tmp_path / "a"})
    assert compute(step, given={"table": tmp_path / "b"}).computed == []
    (tmp_path / "b").write_text("changed")
    assert texts(compute(step, given={"table": tmp_path / "b"}), "one") == ["changed"]


def test_the_content_of_images_decides(compute, cohort):
    step = Step("one", REPEATS, {"images": Given("images")})
    images = {"images": [str(path) for path in cohort.images]}
    compute(step, given=images)
    assert compute(step, given=images).computed == []
    cohort.damage(2, cohort.values[3])
    assert compute(step, given=images).computed == ["one"]


def test_what_is_not_given_is_no_input(compute):
    step = Step("one", REPEATS, {"planted": Given("planted"), "rule": None})
    assert texts(compute(step), "one") == ["[]"]
    assert compute(Step("one", REPEATS, {})).computed == []


def test_each_job_takes_what_has_its_number(compute):
    splits = made_by("Splits", lambda call: write(call, "split", ["first", "second"]))
    outcome = compute(
        Step("splits", splits, {}),
        Step("half", made_by("Half", copies), {"one": Each("splits", "files")}, {"split": [1, 2]}),
    )
    assert texts(outcome, "half") == ["first", "second"]


@pytest.mark.parametrize("side_by_side", [False, True])
def test_a_failing_job_keeps_what_needs_it_from_running_and_nothing_else(compute, side_by_side):
    over = {K: [2, 3, 4]}
    fit = Step(
        "fit",
        made_by("Fit", partial(fails_at, 3)),
        {K: Over(K)},
        over,
        is_fit=True,
        side_by_side=side_by_side,
    )
    maps = Step("maps", REPEATS, {"one": Of("fit", "file")}, over)
    all_maps = Step("select", REPEATS, {"one": Every((Of("fit", "file"),))})
    alone = Step("alone", SAYS, {})
    with pytest.raises(MemoryError, match="no memory for 3"):
        compute(fit, maps, all_maps, alone)
    outcome = compute.outcome
    assert outcome.failed == ["fit, k = 3"]
    assert set(outcome.computed) == {
        "fit, k = 2",
        "fit, k = 4",
        "maps, k = 2",
        "maps, k = 4",
        "alone",
    }


@pytest.mark.parametrize(
    ("kind", "n_tracebacks"), [(ConfigError, 0), (MemoryError, 0), (OSError, 0), (KeyError, 1)]
)
def test_only_faults_of_the_program_have_a_traceback(compute, caplog, kind, n_tracebacks):
    def fails(call):
        raise kind("no")

    with pytest.raises(kind):
        compute(Step("one", made_by("Fails", fails), {}))
    assert compute.outcome.failed == ["one"]
    assert len([record for record in caplog.records if record.exc_info]) == n_tracebacks


def test_a_run_can_stop_at_the_first_error(compute):
    fit = Step("fit", made_by("Fit", partial(fails_at, 2)), {K: Over(K)}, {K: [2, 3]})
    with pytest.raises(MemoryError):
        compute(fit, stop_on_first_crash=True)
    assert compute.outcome.computed == []


@pytest.mark.parametrize("memory", [BASE_BYTES, BASE_BYTES + 2**24], ids=["here", "in processes"])
def test_jobs_side_by_side_have_their_own_results(compute, memory):
    stage = made_by("Fit", repeats, memory=lambda inputs: memory)
    over = {K: [2, 5, 3], "seed": [0, 1]}
    step = Step("fit", stage, {K: Over(K), "seed": Over("seed")}, over, side_by_side=True)
    outcome = compute(step, n_procs=2)
    graph = Graph.of_steps([step])
    for job in graph.jobs:
        (text,) = [outcome.outputs(job)["file"].read_text()]
        assert text == str(sorted(job.numbers.items()))
    over["seed"] = [0, 1, 2]
    more = compute(Step("fit", stage, step.inputs, over, side_by_side=True), n_procs=1)
    assert set(more.computed) == {f"fit, k = {k}, seed 2" for k in (2, 3, 5)}


@pytest.mark.parametrize(
    ("execution", "expected"),
    [
        ({}, 2),  # four processors, two jobs
        ({"omp_nthreads": 1}, 1),
        ({"memory_gb": 1.0}, 4),  # the larger job leaves no room for another one
        ({"memory_gb": 1.0, "omp_nthreads": 3}, 3),
    ],
)
def test_jobs_side_by_side_share_the_threads(compute, execution, expected):
    """In threads in place of processes, which start sooner."""

    def memory(inputs):
        return BASE_BYTES + (GB if inputs[K] == 9 else 2**24)

    stage = made_by("Fit", counts, memory=memory)
    step = Step("fit", stage, {K: Over(K)}, {K: [2, 9]}, is_fit=True, side_by_side=True)
    with joblib.parallel_config(backend="threading"):
        outcome = compute(step, **execution)
    assert texts(outcome, "fit") == [str(expected)] * 2


def test_a_single_fit_takes_all_threads_that_a_fit_may_take(compute):
    fit = Step("fit", made_by("Fit", counts), {K: Over(K)}, {K: [2]}, is_fit=True)
    matrix = Step("matrix", made_by("Matrix", counts), {})
    outcome = compute(matrix, fit, omp_nthreads=3)
    assert texts(outcome, "matrix") == ["4"]
    assert texts(outcome, "fit") == ["3"]


def test_a_fit_gets_the_device(compute):
    devices = []

    def run(call):
        devices.append(call.device)
        return repeats(call)

    stage = made_by("Fit", run, free=("max_iter",))
    steps = [
        Step("matrix", made_by("Matrix", run), {}),
        Step("fit", stage, {K: Over(K)}, {K: [2]}, is_fit=True),
    ]
    compute(*steps, device="cuda:1")
    assert devices == [None, "cuda:1"]
    assert compute(*steps).computed == []  # it has no influence on the result


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"engine": "nipype"}, "`device` requires `engine: local`"),
        ({"dask": {"cluster": "local"}}, "`dask` and `device` cannot be combined"),
    ],
)
def test_settings_that_exclude_a_device(other, message):
    with pytest.raises(ValueError, match=message):
        ExecutionConfig(device="cuda", **other)


def test_a_fit_continues_from_its_own_checkpoint_and_no_other(compute):
    checkpoints = []

    def run(call):
        checkpoints.append(call.checkpoint)
        return repeats(call)

    stage = made_by("Fit", run, free=("max_iter",))

    def fit(text="hello", name="fit", **settings):
        settings = {"tol": 0.1, "max_iter": 10, "seed": 1} | settings
        one = Step("one", made_by("One", partial(says, text)), {"text": text})
        compute(
            one, Step(name, stage, {"one": Of("one", "file"), K: Over(K), **settings}, {K: [2]})
        )
        return checkpoints[-1]

    first = fit()
    assert fit(max_iter=20) == first
    others = [fit(seed=2), fit(tol=0.2), fit(text="other data")]
    assert len({first, *others}) == 4
    assert len(checkpoints) == 5
