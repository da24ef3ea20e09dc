import json
import os
import shutil
import signal
from pathlib import Path

import nibabel as nb
import pytest
from fileformats.generic import Directory, File
from fileformats.text import Tsv
from pydra.compose import python, workflow
from threadpoolctl import threadpool_info

from opnmf_pipeline.engines import pydra as engine
from opnmf_pipeline.engines.graph import Graph
from opnmf_pipeline.engines.pydra import OpnmfWorkflow, workflow_settings
from opnmf_pipeline.engines.slurm import SlurmWorker
from opnmf_pipeline.engines.steps import steps_of
from opnmf_pipeline.exceptions import ConfigError, EngineError
from opnmf_pipeline.nodes import pydra as tasks
from opnmf_pipeline.stages.memory import BASE_BYTES, fit_bytes

OF_ONE_K = ("decompose, k = 2", "maps, k = 2", "associations, k = 2")
pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


@python.define
def Lowered(image: File, factor: float) -> File:
    import nibabel as nb

    source = nb.load(image)
    nb.Nifti1Image(source.get_fdata() * factor, source.affine).to_filename("lowered.nii.gz")
    return File("lowered.nii.gz")


@workflow.define(outputs=["table", "maps"])
def Foreign(images: list[File], people: list[str], ks: list[int]) -> tuple[Tsv, list[Directory]]:
    """Somebody's workflow: prepares each image, then hands them on."""
    ready = workflow.add(Lowered(factor=0.9).split(image=images).combine("image")).out
    opnmf = workflow.add(
        OpnmfWorkflow(
            images=ready,
            participants=people,
            n_components=ks,
            decomposition={"max_iter": 20},
            figures=False,
        )
    )
    return opnmf.metrics_file, opnmf.maps_dirs


def test_as_a_part_of_another_workflow(study, tmp_path):
    cohort = study.cohort
    outputs = Foreign(images=cohort.images, people=cohort.subjects, ks=[2, 3])(
        cache_root=tmp_path / "cache", worker="cf", n_procs=2
    )
    rows = [row.split("\t")[0] for row in outputs.table.read_text().splitlines()]
    assert rows == ["n_components", "2", "3"]
    assert len(outputs.maps) == 2
    assert not list((tmp_path / "cache").rglob("events"))


def test_the_debug_worker(study):
    _, lines = study.run("pydra", "execution.plugin=debug", "decomposition.n_components=2")
    assert sorted(lines[2:]) == sorted(
        f"{stage}: computed"
        for stage in (
            "mask",
            "matrix",
            *OF_ONE_K,
            "select",
            "quality",
            "report",
        )
    )


def test_lists_come_in_the_order_of_the_settings(study, tmp_path):
    """Pydra sorts the inputs of a task by name; and one split is a list of one."""
    settings = workflow_settings(study.config("pydra", "selection.n_splits=1"))
    task = OpnmfWorkflow(
        images=study.cohort.images,
        participants=study.cohort.subjects,
        **settings | {"n_components": [3, 2, 4]},
    )
    outputs = task(cache_root=tmp_path / "cache", worker="debug")
    fits = [Path(folder) / "factorization.json" for folder in outputs.factorization_dirs]
    ks = [json.loads(fit.read_text())["NumberOfComponents"] for fit in fits]
    assert ks == [3, 2, 4]
    ks = [nb.load(Path(folder, "components.nii.gz")).shape[3] for folder in outputs.maps_dirs]
    assert ks == [3, 2, 4]
    assert Path(outputs.selection_dir, "splits.tsv").exists()


def test_a_second_run_in_a_process_reads_nothing_of_the_first(study):
    study.run("pydra", "decomposition.n_components=2")
    shutil.rmtree(study.out("pydra"))
    summary, _ = study.run(
        "pydra", "decomposition.n_components=2", f"output.dir={study.root / 'other'}"
    )
    assert "decompose, k = 2" in summary.computed


def test_a_killed_worker_is_told_from_a_failure(study, each_fit):
    each_fit(lambda k: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(EngineError, match="a worker process was killed"):
        study.run("pydra", "decomposition.n_components=2")
    each_fit(lambda k: None)
    summary, lines = study.run("pydra", "decomposition.n_components=2")
    assert "mask: reused" in lines
    assert "decompose, k = 2" in summary.computed


def test_locks_of_an_interrupted_run_hold_up_nobody(study):
    study.run("pydra", "decomposition.n_components=2")
    (root,) = study.out("pydra").glob("work/pydra-*")
    folders = [path for path in root.glob("python-*") if path.is_dir()]
    for folder in folders:
        folder.with_suffix(".lock").write_text("")
    assert study.run("pydra", "decomposition.n_components=2")[0].computed == []
    assert not list(root.glob("*.lock"))


def test_the_home_folder_need_not_be_writable(study, monkeypatch):
    monkeypatch.delenv("PYDRA_HASH_CACHE")
    monkeypatch.setattr("pydra.utils.hash.user_cache_root", Path("/dev/null/home"))
    study.run("pydra", "decomposition.n_components=2")
    (hashes,) = study.out("pydra").glob("work/pydra-*/hashes")
    assert len(list(hashes.iterdir())) > 8
    assert "PYDRA_HASH_CACHE" not in os.environ


@pytest.mark.parametrize("quiet", [True, False])
def test_the_log_of_pydra_is_for_those_who_ask(study, each_fit, caplog, quiet):
    def fail(k):
        raise MemoryError("no memory")

    each_fit(fail)
    caplog.set_level("INFO" if quiet else "DEBUG", logger="opnmf_pipeline")
    with pytest.raises(EngineError):
        study.run("pydra", "decomposition.n_components=2", "execution.plugin=debug")
    names = {record.name for record in caplog.records if record.name.startswith("pydra")}
    assert bool(names) is not quiet


@pytest.mark.parametrize(
    ("n_procs", "ks", "n_splits"),
    [(1, [2], 0), (2, [2], 0), (2, [2, 3], 0), (4, [2], 1), (5, [2, 3], 0), (8, [2, 3, 4], 2)],
)
def test_threads_times_processes_are_within_the_limit(study, n_procs, ks, n_splits):
    config = study.config(
        "pydra",
        f"execution.n_procs={n_procs}",
        f"decomposition.n_components={ks}",
        f"selection.n_splits={n_splits}",
    )
    threads = engine._threads_per_job(Graph.of_steps(steps_of(config)), config.execution)
    workers = engine._worker(config.execution, threads).n_procs
    assert threads >= 1
    assert workers >= 1
    assert threads * workers <= n_procs


def test_the_limit_of_threads_reaches_a_job(study, each_fit, monkeypatch, tmp_path):
    def note(k):
        used = {pool["num_threads"] for pool in threadpool_info()}
        (tmp_path / f"threads-{k}").write_text(f"{used} {os.environ['OMP_NUM_THREADS']}")

    each_fit(note)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    study.run("pydra")
    for k in (2, 3):
        assert (tmp_path / f"threads-{k}").read_text() == "{1} 1"
    assert os.environ["OMP_NUM_THREADS"] == "7"


class TestSlurmWorker:
    @pytest.fixture
    def submitted(self, monkeypatch):
        """The arguments that a job would be submitted with."""
        seen = []

        async def run(self, job, rerun=False):
            seen.append(self.sbatch_args)

        monkeypatch.setattr(SlurmWorker.__mro__[1], "run", run)

        def submit(task, **options):
            import asyncio
            from types import SimpleNamespace

            job = SimpleNamespace(task=task, name="job", cache_dir=Path("missing"))
            asyncio.run(SlurmWorker(**options).run(job))
            return seen[-1].split()

        return submit

    def test_asks_for_what_a_fit_takes(self, study, submitted):
        study.run("local")
        (matrix,) = study.out("local").glob("work/*/matrix-*")
        (n_voxels,) = {
            int(line.split(":")[1].strip(" ,"))
            for path in study.out("local").glob("work/*/decompose-*/factorization.json")
            for line in path.read_text().splitlines()
            if "NumberOfVoxels" in line
        }
        fit = tasks.Decompose(matrix_dir=matrix, n_components=3)
        megabytes = -(-fit_bytes(n_voxels, 8, 3, "float32") // 2**20)
        assert submitted(fit, threads=2) == [f"--mem={megabytes}M", "--cpus-per-task=2"]

    def test_asks_for_the_libraries_otherwise(self, study, submitted):
        mask = tasks.MakeMask(images=study.cohort.images)
        assert submitted(mask) == [f"--mem={BASE_BYTES // 2**20}M", "--cpus-per-task=1"]

    def test_leaves_the_last_word_to_the_user(self, study, submitted):
        mask = tasks.MakeMask(images=study.cohort.images)
        given = "--mem=9G --partition=long"
        assert submitted(mask, sbatch_args=given) == ["--cpus-per-task=1", *given.split()]

    def test_submits_nothing_whose_result_is_known(self, study, monkeypatch):
        one = "decomposition.n_components=2"
        study.run("pydra", one)
        monkeypatch.setenv("PATH", "")  # no sbatch
        summary, _ = study.run("pydra", one, "execution.plugin=slurm")
        assert summary.computed == []

    @pytest.mark.parametrize("option", ["-e", "--error"])
    def test_refuses_what_pydra_would_stumble_over(self, option):
        with pytest.raises(ConfigError, match=f"remove {option}"):
            SlurmWorker(sbatch_args=f"--mem=1G {option}=log.txt")

    @pytest.mark.parametrize("status", ["TIMEOUT", "CANCELLED"])
    def test_a_job_out_of_time_has_failed(self, monkeypatch, status):
        import asyncio

        async def verify(self, jobid):
            return status

        monkeypatch.setattr(SlurmWorker.__mro__[1], "_verify_exit_code", verify)
        worker = SlurmWorker()
        worker.error["7"] = "/somewhere/slurm-7.err"
        with pytest.raises(RuntimeError, match=f"job 7: {status}; see /somewhere"):
            asyncio.run(worker._verify_exit_code("7"))


def test_the_environment_is_as_before(monkeypatch):
    monkeypatch.setenv("OPNMF_OLD", "1")
    monkeypatch.delenv("OPNMF_NEW", raising=False)
    before = dict(os.environ)
    with engine._environment({"OPNMF_OLD": "2", "OPNMF_NEW": "3"}):
        assert (os.environ["OPNMF_OLD"], os.environ["OPNMF_NEW"]) == ("2", "3")
    assert dict(os.environ) == before
