"""How commands end: exit codes, crash files, and output that nobody reads."""

import re
import subprocess
import sys

import pytest

from opnmf_pipeline.cli import bids_main, main
from opnmf_pipeline.exceptions import ExitCode
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

START = "import sys; from opnmf_pipeline.cli import main; sys.exit(main())"
UNFINISHED = ("--set", "decomposition.max_iter=2", "--set", "decomposition.solver=multiplicative")


@pytest.fixture
def command(write_config, settings, tmp_path):
    return ["run", str(write_config(settings)), "-o", str(tmp_path / "out")]


def test_the_codes_are_documented():
    page = (ROOT / "docs" / "reference" / "command-line.rst").read_text()
    documented = [int(code) for code in re.findall(r"^(\d)  ", page, re.MULTILINE)]
    assert documented == [code.value for code in ExitCode]


@pytest.mark.parametrize(("more", "code"), [((), 0), (("--strict",), ExitCode.NOT_CONVERGED)])
def test_strict_makes_a_fit_that_did_not_converge_an_error(command, tmp_path, capfd, more, code):
    assert main([*command, *UNFINISHED, *more]) == code
    assert (tmp_path / "out" / "report.html").exists()
    printed = capfd.readouterr()
    said = "not converged: k = 2, 3; raise decomposition.max_iter or decomposition.tol"
    assert said in printed.out
    assert (f"error: {said}" in printed.err) == bool(code)


def test_strict_accepts_fits_that_converged(command):
    assert main([*command, "--strict"]) == 0


def test_strict_of_the_bids_app(write_config, settings, cohort, tmp_path):
    config = write_config({key: settings[key] for key in ("report", "execution")})
    start = [str(cohort.root), str(tmp_path / "out"), "group", "--config-file", str(config)]
    start += ["--skip-bids-validation", "--set", "decomposition.n_components=2", *UNFINISHED, "-q"]
    assert bids_main([*start, "--strict"]) == ExitCode.NOT_CONVERGED


def crash(command, monkeypatch, folder, error):
    """Run a command in which a function fails in a way that nobody thought of."""

    def fail(*args, **keywords):
        raise error

    monkeypatch.chdir(folder)
    monkeypatch.setattr("opnmf_pipeline.runs.run.collect_study", fail)
    code = main(command)
    return code, sorted(folder.glob("opnmf-pipeline-crash-*.txt"))


def test_a_fault_writes_a_file_to_send(command, monkeypatch, tmp_path, capfd):
    command += ["--set", "inputs.filters.sub=[secret01, secret02]"]
    code, (path,) = crash(command, monkeypatch, tmp_path, KeyError("age of secret01 is 42 years"))
    assert code == ExitCode.BUG
    message = capfd.readouterr().err
    assert "KeyError: 'age of secret01 is 42 years'" in message
    assert f"send the file {path}" in message
    assert "Traceback" not in message
    text = path.read_text()
    assert "numpy " in text
    assert "n_components:\n  - 2\n  - 3\n" in text
    assert "in fail" in text
    assert "KeyError" in text
    assert "secret" not in text
    assert "42 years" not in text.split("Settings\n")[1]


def test_a_crash_file_names_the_causes(command, monkeypatch, tmp_path):
    error = RuntimeError("outer")
    error.__cause__ = ZeroDivisionError("inner")
    _, (path,) = crash(command, monkeypatch, tmp_path, error)
    text = path.read_text()
    assert text.index("ZeroDivisionError") < text.index("RuntimeError")


def test_where_the_folder_cannot_be_written_the_crash_file_is_temporary(
    command, monkeypatch, tmp_path, capfd
):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(there))
    monkeypatch.setattr("opnmf_pipeline.cli.crash.Path.cwd", lambda: tmp_path / "nowhere")
    code, found = crash(command, monkeypatch, here, KeyError("x"))
    assert (code, found) == (ExitCode.BUG, [])
    assert len(list(there.iterdir())) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error"), "system error: [Errno 5] Input/output error"),
        (OSError(28, "No space left on device"), "the disk or the quota is full: more bytes are"),
        (
            MemoryError("unable to allocate 9 TiB"),
            "not enough memory (unable to allocate 9 TiB); use",
        ),
    ],
)
def test_the_machine_is_no_fault_of_the_program(command, monkeypatch, tmp_path, capfd, error, said):
    assert crash(command, monkeypatch, tmp_path, error) == (ExitCode.INPUT, [])
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("more", ["-q", "-v"])
def test_no_memory_for_a_fit_is_one_line(command, monkeypatch, capfd, more):
    def fail(*args, **keywords):
        raise MemoryError

    monkeypatch.setattr("opnmf_pipeline.stages.decompose.decompose", fail)
    assert main([*command, more]) == ExitCode.INPUT
    printed = capfd.readouterr()
    assert printed.err.startswith("opnmf-pipeline: error: not enough memory; use fewer processes")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.out


def piped(command, reader):
    """Run a command whose output a reader reads."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", START, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as writer,
        subprocess.Popen(reader, stdin=writer.stdout, stdout=subprocess.DEVNULL),
    ):
        writer.stdout.close()
        message = writer.stderr.read().decode()
    return writer.returncode, message


@pytest.mark.parametrize("reader", [["head", "-n", "1"], ["true"]])
def test_a_run_finishes_if_nobody_reads_its_output(command, tmp_path, reader):
    assert piped(command, reader) == (0, "")
    assert (tmp_path / "out" / "report.html").exists()


def test_a_schema_that_nobody_reads_is_no_error():
    assert piped(["schema"], ["true"]) == (0, "")


def test_a_run_without_any_output(command, tmp_path):
    script = f"exec {sys.executable} -c '{START}' \"$@\" >&-"
    done = subprocess.run(["sh", "-c", script, "sh", *command], stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out" / "report.html").exists()
