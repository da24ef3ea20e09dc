import multiprocessing

import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages import decompose as stage
from tests.builders import three_parts, write_cohort


class Study:
    """A tiny cohort that any engine can run, again and again, into one folder for each engine."""

    def __init__(self, root):
        self.root = root
        self.cohort = write_cohort(root / "dataset", three_parts(n_subjects=8))
        rows = [f"{subject}\t{20 + n}\t{n}\tA" for n, subject in enumerate(self.cohort.subjects)]
        people = self.cohort.root / "participants.tsv"
        people.write_text("\n".join(["participant_id\tage\tscore\tsite", *rows]) + "\n")
        people.with_suffix(".json").write_text('{"score": {"Description": "points of a test"}}')

    def config(self, engine, *overrides):
        path = self.root / "config.yaml"
        path.write_text(
            f"inputs: {{bids: {self.cohort.root}, filters: {{label: GM, suffix: probseg}}}}\n"
            "decomposition: {n_components: [3, 2], max_iter: 100, tol: 1e-3}\n"
            "report: {figures: false}\n"
            "execution: {n_procs: 2}\n"
        )
        given = [f"execution.engine={engine}", f"output.dir={self.out(engine)}", *overrides]
        return load_config(path, given)

    def out(self, engine):
        return self.root / f"out-{engine}"

    def run(self, engine, *overrides):
        display = Lines()
        return run(self.config(engine, *overrides), display), display.lines


class Lines:
    """A display that keeps its lines."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)

    def track(self, items, description, total):
        yield from items

    def fit(self, description):
        return _no_callback()


class _no_callback:
    def __enter__(self):
        return None

    def __exit__(self, *error):
        return None


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Write a short page about the results: what is on it is no part of an engine, and takes time.

    Workers are forks of this process, and have the same page.
    """

    def page(selection, fits, mask_file, out_file, **options):
        out_file.write_text("<html></html>")
        return out_file

    monkeypatch.setattr("opnmf_pipeline.stages.report.make_report", page)


@pytest.fixture
def each_fit(monkeypatch):
    """Return a function that has another called at the start of each fit, in workers too.

    Workers are forks of this process (Python 3.14 must be told so), and the stage is the one place
    that they all look up.
    """

    def install(before):
        def estimator(n_components, *args, **keywords):
            before(n_components)
            return original(n_components, *args, **keywords)

        monkeypatch.setattr(stage, "estimator", estimator)

    original = stage.estimator
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("fork", force=True)
    yield install
    multiprocessing.set_start_method(method, force=True)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("PYDRA_HASH_CACHE", str(tmp_path / "hashes"))
    return Study(tmp_path)


@pytest.fixture(scope="module")
def module_study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study"))
