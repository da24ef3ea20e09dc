"""The words of the BIDS App: what settings they become, and what is refused."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from opnmf_pipeline import __version__
from opnmf_pipeline.cli import bids_main
from opnmf_pipeline.cli.bids_app import settings_of
from opnmf_pipeline.cli.bids_parser import build_bids_parser
from opnmf_pipeline.exceptions import ConfigError
from tests.cli.test_cli import HEAVY
from tests.conftest import ROOT


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Return a function from arguments to settings; relative paths start at a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def parse(*arguments):
        return settings_of(
            build_bids_parser().parse_args(["data", "out", "group", *map(str, arguments)])
        )

    return parse


@pytest.fixture
def write_json(tmp_path):
    def write(content, name="filters.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_places(parse, tmp_path):
    config = parse("-w", "scratch", "--bids-database-dir", "index")
    assert config.inputs.bids == tmp_path / "data"
    assert config.output.dir == tmp_path / "out"
    assert config.execution.work_dir == tmp_path / "scratch"
    assert config.inputs.database_dir == tmp_path / "index"


@pytest.mark.parametrize("flag", ["--participant-label", "--participant_label"])
def test_labels_with_and_without_prefix(parse, flag):
    config = parse(flag, "01", "sub-02", "subway", "--session-label", "ses-BL", "2")
    assert config.inputs.filters == {"sub": ["01", "02", "subway"], "ses": ["BL", "2"]}


@pytest.mark.parametrize(
    "content",
    [
        {"image": {"label": "GM", "space": None, "run": [1, 2]}},
        {"t1w": {"label": "GM", "space": None, "run": [1, 2]}},
        {"t1w": {"suffix": "T1w"}, "image": {"label": "GM", "space": None, "run": [1, 2]}},
        {"label": "GM", "space": None, "run": [1, 2]},
    ],
)
def test_forms_of_the_filter_file(parse, write_json, content):
    config = parse("--bids-filter-file", write_json(content), "--participant-label", "01")
    expected = {"label": ["GM"], "space": [None], "run": ["1", "2"], "sub": ["01"]}
    assert config.inputs.filters == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "cannot be read as JSON"),
        ([], "expected an object"),
        ({"t1w": {}, "bold": {}}, "has the queries t1w, bold; give the name"),
        ({"image": {"label": {"not": "GM"}}}, "inputs.filters.label"),
    ],
)
def test_a_filter_file_that_cannot_be(parse, write_json, content, expected):
    with pytest.raises(ConfigError, match=expected):
        parse("--bids-filter-file", write_json(content))
    with pytest.raises(ConfigError, match=r"nowhere.json: cannot be read as JSON \(No such file"):
        parse("--bids-filter-file", "nowhere.json")


def test_the_words_replace_what_the_file_says(parse, write_config, write_json):
    settings = {
        "inputs": {"table": "cohort.tsv", "filters": {"label": "GM", "space": "T1w"}},
        "decomposition": {"n_components": 5, "random_state": 1, "tol": 0.01},
        "execution": {"n_procs": 1, "memory_gb": 1},
        "output": {"dir": "elsewhere"},
    }
    config = parse(
        *("--config-file", write_config(settings), "--random-seed", 7, "--nprocs", 3),
        *("--mem", "2560", "--omp-nthreads", 2, "--set", "decomposition.tol=0.1"),
        *("--bids-filter-file", write_json({"image": {"space": "MNI"}})),
        *("--stop-on-first-crash", "--resource-monitor", "--overwrite"),
    )
    assert config.inputs.table is None
    assert config.inputs.filters == {"label": ["GM"], "space": ["MNI"]}
    assert config.decomposition.n_components == (5,)
    assert config.decomposition.tol == 0.1
    assert config.decomposition.random_state == config.selection.random_state == 7
    execution = config.execution
    assert (execution.n_procs, execution.omp_nthreads, execution.memory_gb) == (3, 2, 2.5)
    assert execution.stop_on_first_crash
    assert execution.resource_monitor
    assert config.output.overwrite
    assert config.output.dir.name == "out"


def test_what_is_not_said_stays_as_in_the_file(parse, write_config):
    settings = {
        "inputs": {"simulation": {}},
        "decomposition": {"random_state": 1},
        "execution": {"n_procs": 1, "stop_on_first_crash": True},
    }
    config = parse("--config-file", write_config(settings))
    assert config.decomposition.random_state == 1
    assert config.execution.n_procs == 1
    assert config.execution.stop_on_first_crash
    assert config.inputs.simulation is None


@pytest.mark.parametrize("source", [{"table": "a.tsv"}, {"glob": "*.nii"}, {"simulation": {}}])
def test_the_dataset_replaces_any_source_of_images_of_the_file(parse, write_config, source):
    inputs = parse("--config-file", write_config({"inputs": source})).inputs
    assert inputs.bids is not None
    assert inputs.table is inputs.glob is inputs.features is inputs.simulation is None


@pytest.mark.parametrize("in_file", [True, False])
def test_tables_of_features_are_taken_in_place_of_images(parse, write_config, in_file):
    named = {"features": "a.csv"} if in_file else {"glob": "*.nii"}
    command = [] if in_file else ["--set", "inputs.features=a.csv"]
    inputs = parse("--config-file", write_config({"inputs": named}), *command).inputs
    assert [path.name for path in inputs.features] == ["a.csv"]
    assert inputs.bids is inputs.glob is None


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [("8192", 8), ("512M", 0.5), ("8G", 8), ("8gb", 8), ("1.5G", 1.5), ("2T", 2048)],
)
def test_memory_has_the_units_of_slurm(parse, text, gigabytes):
    assert parse("--mem", text).execution.memory_gb == pytest.approx(gigabytes)


@pytest.mark.parametrize("text", ["", "0", "-1", "G", "8X", "many"])
def test_memory_that_cannot_be(text, capsys):
    with pytest.raises(SystemExit):
        build_bids_parser().parse_args(["data", "out", "group", f"--mem={text}"])
    assert "expected a size such as 8000, 800M or 8G" in capsys.readouterr().err


def test_plugin_file(parse, write_config):
    plugin = {"plugin": "SLURM", "plugin_args": {"sbatch_args": "--partition=long"}}
    execution = parse("--use-plugin", write_config(plugin)).execution
    assert execution.engine == "nipype"
    assert execution.plugin == "SLURM"
    assert execution.plugin_args == plugin["plugin_args"]
    pydra = write_config({"engine": "pydra", "plugin": "cf"})
    assert parse("--use-plugin", pydra).execution.engine == "pydra"
    with pytest.raises(ConfigError, match="expected the keys engine, plugin, plugin_args, got n"):
        parse("--use-plugin", write_config({"n_procs": 3}))


def test_version(capsys):
    with pytest.raises(SystemExit) as info:
        bids_main(["--version"])
    assert info.value.code == 0
    assert capsys.readouterr().out.strip() == f"opnmf-bids {__version__}"


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from opnmf_pipeline.cli import bids_main\n"
        "try: bids_main(['--help'])\n"
        f"except SystemExit: print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage: opnmf-bids" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_flag_is_a_stub():
    """Every argument is read by the translation, or ends the parser."""
    source = (ROOT / "opnmf_pipeline" / "cli" / "bids_app.py").read_text()
    read = set(re.findall(r"args\.(\w+)", source)) | {"boilerplate_only", "resource_monitor"}
    actions = build_bids_parser()._actions
    assert {action.dest for action in actions} - {"help", "version"} <= read


def test_the_page_explains_every_flag_and_no_other():
    page = (ROOT / "docs" / "bids-app.md").read_text()
    explained = re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE)
    # of several spellings the page has the first long one
    flags = [
        next(name for name in action.option_strings if name.startswith("--"))
        for action in build_bids_parser()._actions
        if action.option_strings and action.dest != "help"
    ]
    assert sorted(explained) == sorted(flags)


def test_examples_of_the_page_are_taken(tmp_path):
    """Every command of the page parses, and every YAML and JSON in it can be read."""
    page = (ROOT / "docs" / "bids-app.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    n_commands = 0
    for language, block in blocks:
        if language == "yaml":
            assert yaml.safe_load(block)
        elif language == "json":
            assert json.loads(block)
        else:
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("opnmf-bids "):
                    build_bids_parser().parse_args(line.split("#")[0].split()[1:])
                    n_commands += 1
    assert n_commands == 3
