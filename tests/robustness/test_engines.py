"""Killed workers, interrupted runs, and folders that are moved, in each engine."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from opnmf_pipeline.cli import main
from opnmf_pipeline.exceptions import ExitCode
from opnmf_pipeline.locks import only_run
from tests.conftest import ROOT
from tests.engines.test_engines import results

ENGINES = [
    "local",
    pytest.param("nipype", marks=pytest.mark.slow),
    pytest.param("pydra", marks=pytest.mark.slow),
]
# Fits never end, and the local engine, too, runs the halves in processes
SCRIPT = """
import sys
import opnmf_pipeline.engines.local as local
from opnmf_pipeline.cli import main
local.SMALL_BYTES = -10**12
sys.exit(main())
"""


@pytest.fixture
def endless(tmp_path, command):
    """Return a function that starts a run whose workers do not end, and waits for the workers."""
    path = tmp_path / "endless.yaml"
    settings = yaml.safe_load((tmp_path / "config.yaml").read_text())
    settings["decomposition"] |= {"solver": "multiplicative", "tol": 0, "max_iter": 20_000}
    settings["selection"] = {"n_splits": 8}
    settings["execution"] = {"n_procs": 2}
    path.write_text(yaml.safe_dump(settings))
    started = []

    def start(engine):
        arguments = ["run", str(path), "--output", str(tmp_path / "out"), "--engine", engine]
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        started.append(process)
        return process, workers_of(process)

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers_of(process):
    """Return the workers of a run as soon as one of them computes."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        workers = psutil.Process(process.pid).children(recursive=True)
        workers = [one for one in workers if "resource_tracker" not in " ".join(one.cmdline())]
        if any(one.cpu_times().user > 1.5 for one in workers):
            return workers
        time.sleep(0.2)
    raise AssertionError("no worker computes")


def ended(workers):
    """Tell whether all workers end within a few seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        alive = [
            one for one in workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE
        ]
        if not alive:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_worker_is_told(endless, engine):
    process, workers = endless(engine)
    max(workers, key=lambda one: one.cpu_times().user).kill()
    text, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INPUT
    assert "a worker process was killed" in " ".join(text.split())
    assert "Traceback" not in text
    assert ended(workers)


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [False, True], ids=["to the run", "to the workers too"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["local", "nipype", "pydra"])
def test_an_interrupted_run_ends_at_once_and_goes_on(endless, command, engine, number, to_all):
    process, workers = endless(engine)
    start = time.monotonic()
    (os.killpg if to_all else os.kill)(process.pid, number)
    text, _ = process.communicate(timeout=60)
    assert time.monotonic() - start < 5  # two seconds, on a machine that does nothing else
    assert process.returncode == ExitCode.INTERRUPTED
    assert "run the same command to continue" in text
    assert "Traceback" not in text
    assert ended(workers)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "nipype", "pydra"])
def test_workers_end_with_their_run(endless, engine):
    process, workers = endless(engine)
    process.kill()
    assert ended(workers)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "nipype", "pydra"])
def test_a_killed_run_goes_on(tmp_path, command, engine):
    whole, out = tmp_path / "whole", tmp_path / "out"
    arguments = [*command, "--engine", engine, "--quiet"]
    assert main([*arguments, "--output", str(whole)]) == 0
    for seconds in (3, 4, 5, 6, 7):
        run = [sys.executable, "-c", SCRIPT, *arguments, "--output", str(out)]
        process = subprocess.Popen(run, cwd=ROOT, start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert main([*arguments, "--output", str(out)]) == 0
    assert results(out) == results(whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_moved_folder_keeps_its_results(tmp_path, command, capsys, engine):
    before, after = tmp_path / "before", tmp_path / "after"
    arguments = [*command, "--engine", engine]
    assert main([*arguments, "--output", str(before)]) == 0
    expected = results(before)
    before.rename(after)
    capsys.readouterr()
    assert main([*arguments, "--output", str(after)]) == 0
    assert "nothing was computed" in capsys.readouterr().out
    assert results(after) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_of_the_user_has_the_same_code_in_each_engine(tmp_path, command, engine):
    (image, *_) = sorted((tmp_path / "dataset").glob("sub-*/anat/*.nii.gz"))
    image.write_bytes(image.read_bytes()[:-40])
    assert main([*command, "--engine", engine, "--output", str(tmp_path / "out")]) == 2


def test_two_runs_cannot_write_into_one_output_folder(tmp_path, command, capsys):
    work = ["--work-dir", str(tmp_path / "other"), "--overwrite"]
    with only_run(tmp_path / "out", "output.dir", "--output"):
        assert main([*command, *work, "--output", str(tmp_path / "out")]) == 2
    assert "another run is using it" in capsys.readouterr().err
    assert main([*command, *work, "--output", str(tmp_path / "out")]) == 0
