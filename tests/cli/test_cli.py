import json
import subprocess
import sys

import pytest

from opnmf_pipeline import __version__
from opnmf_pipeline.cli import main
from opnmf_pipeline.cli.check import _size
from opnmf_pipeline.cli.parser import build_parser, overrides
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.exceptions import ExitCode

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

HEAVY = ("numpy", "pandas", "scipy", "sklearn", "nibabel", "nilearn", "matplotlib", "pydantic")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from opnmf_pipeline.cli import main\n"
        "try: main(['run', '--help'])\n"
        f"except SystemExit: print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: opnmf-pipeline run" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["run", "check", "schema"])
def test_every_command_has_help(command, capsys):
    assert f"{command} " in build_parser().format_help()
    with pytest.raises(SystemExit) as info:
        main([command, "--help"])
    assert info.value.code == 0
    assert f"usage: opnmf-pipeline {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fit"],
        ["run"],
        ["run", "c.yaml", "--nprocs", "0"],
        ["run", "c.yaml", "--nprocs", "many"],
        ["run", "c.yaml", "--unknown"],
    ],
)
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    message = capsys.readouterr().err
    assert "opnmf-pipeline" in message
    assert "_positive" not in message


def test_version(capsys):
    with pytest.raises(SystemExit) as info:
        main(["--version"])
    assert info.value.code == 0
    assert capsys.readouterr().out.strip() == f"opnmf-pipeline {__version__}"


def test_schema(capsys):
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == PipelineConfig.model_json_schema()


@pytest.mark.parametrize(
    "name",
    ["out", "2024", "it's", "1e3", "~x", "yes", "null", "a: b", "#1", "[k10]", " a"],
)
def test_every_folder_name_can_be_the_output(name, write_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "c.yaml", "--output", name, "--work-dir", name, "--nprocs", "2"]
    items = overrides(build_parser().parse_args(arguments))
    config = load_config(write_config({"inputs": {"bids": "data"}}), items)
    assert config.output.dir == tmp_path / name
    assert config.execution.work_dir == tmp_path / name
    assert config.execution.n_procs == 2


def test_flags_win_over_set_and_set_over_the_file(write_config, tmp_path):
    path = write_config(
        {"inputs": {"bids": "data"}, "output": {"dir": "a"}, "mask": {"coverage": 1}}
    )
    arguments = ["run", str(path), "--set", "output.dir=b", "--set", "mask.coverage=0.5"]
    arguments += ["--output", str(tmp_path / "c"), "--overwrite"]
    config = load_config(path, overrides(build_parser().parse_args(arguments)))
    assert config.output.dir == tmp_path / "c"
    assert config.output.overwrite
    assert config.mask.coverage == 0.5


def test_every_flag_of_a_run_is_a_setting(write_config, tmp_path):
    path = write_config({"inputs": {"bids": "data"}, "execution": {"n_procs": 1}})
    (tmp_path / "plugin.yaml").write_text("n_procs: 2")
    arguments = ["run", str(path), "--engine", "nipype", "--plugin", "Linear", "--nprocs", "3"]
    arguments += ["--plugin-args", str(tmp_path / "plugin.yaml"), "--mem", "1.5"]
    arguments += ["--work-dir", str(tmp_path / "w"), "--output", str(tmp_path / "out")]
    config = load_config(path, overrides(build_parser().parse_args(arguments)))
    execution = config.execution
    assert (execution.engine, execution.plugin) == ("nipype", "Linear")
    assert (execution.n_procs, execution.memory_gb) == (3, 1.5)
    assert execution.plugin_args == {"n_procs": 2}
    assert execution.work_dir == tmp_path / "w"
    assert config.output.dir == tmp_path / "out"
    assert not config.output.overwrite


def test_run_prints_what_it_found(write_config, settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "out"
    assert main(["run", str(write_config(settings)), "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "6 subjects, 59 voxels" in printed
    assert "R² about" in printed
    assert f"maps      {out / 'group'}\n" in printed
    assert f"report    {out / 'report.html'}\n" in printed
    assert "pictures" not in printed


def test_quiet(write_config, settings, tmp_path, capfd):
    command = ["run", str(write_config(settings)), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(command) == 0
    assert capfd.readouterr() == ("", "")


def test_no_convergence_is_said(write_config, settings, tmp_path, capsys):
    command = ["run", str(write_config(settings)), "--output", str(tmp_path / "out")]
    command += ["--set", "decomposition.solver=multiplicative"]
    assert main([*command, "--set", "decomposition.max_iter=3"]) == 0
    printed = capsys.readouterr().out
    assert "not converged: k = 2, 3" in printed
    assert "decomposition.max_iter" in printed


def test_check_prints_the_plan_and_writes_nothing(write_config, settings, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["check", str(write_config(settings)), "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "subjects      6" in printed
    assert "shape (5, 4, 3), voxels 3 x 3 x 3 mm" in printed
    assert "components    2, 3" in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(300 * 2**20, "300 MiB"), (2**30 - 2**20, "1023 MiB"), (3 * 2**29, "1.5 GiB")],
)
def test_sizes_are_in_binary_units(n_bytes, text):
    assert _size(n_bytes) == text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("decomposition.n_components=9", "9 is more than 6, the number of subjects"),
        ("inputs.filters.label=WM", "matches the filters"),
        ("mask.threshold=high", "mask.threshold"),
    ],
)
def test_check_refuses_what_a_run_would(write_config, settings, capsys, override, expected):
    assert main(["check", str(write_config(settings)), "--set", override]) == 2
    assert expected in capsys.readouterr().err


def test_check_reads_the_headers(write_config, settings, cohort, capsys):
    cohort.images[2].write_bytes(b"no image")
    assert main(["check", str(write_config(settings))]) == 2
    assert f"{cohort.images[2]}: cannot be read as an image" in capsys.readouterr().err


def test_check_says_that_it_read_headers_only(write_config, settings, cohort, capsys):
    for number in (1, 4):
        cohort.damage(number, -cohort.values[number])
    command = ["check", str(write_config(settings))]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "images        only the headers were read; --deep also reads" in printed
    assert "voxels        at most 60: " in printed
    assert main([*command, "--deep"]) == 2
    message = capsys.readouterr().err
    assert "2 subject(s) have values in the mask" in message
    assert all(f"sub-0{n}: {cohort.images[n - 1]}: " in message for n in (2, 5))
    assert main([*command, "--deep", "--set", "matrix.negative=clip", "--set", DROP]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "left out 2 subject(s) whose image is zero everywhere in the mask: sub-02, sub-05"
        in printed
    )
    assert "subjects 4 " in printed
    assert "voxels about 59: " in printed


DROP = "inputs.on_empty=drop"


def test_interruption(write_config, settings, tmp_path, capsys, monkeypatch):
    def interrupt(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("opnmf_pipeline.stages.decompose.decompose", interrupt)
    command = ["run", str(write_config(settings)), "--output", str(tmp_path / "out")]
    assert main(command) == ExitCode.INTERRUPTED == 4
    assert "interrupted; run the same command to continue" in capsys.readouterr().err


def test_check_knows_the_limit_of_the_halves(write_config, settings, capsys):
    command = ["check", str(write_config(settings)), "--set", "selection.n_splits=1"]
    assert main([*command, "--set", "decomposition.n_components=[2, 4]"]) == 2
    assert (
        "n_components: 4 is more than 3, the number of subjects of a half"
        in capsys.readouterr().err
    )
