import inspect
import json
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from opnmf_pipeline.config import (
    DecompositionConfig,
    PipelineConfig,
    SelectionConfig,
    load_config,
)
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.base import DTYPES
from opnmf_pipeline.decomposition.initialization import INITS
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.exceptions import ConfigError
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
BASE = {"inputs": {"bids": "data"}}


def problem(path, *overrides):
    with pytest.raises(ConfigError) as info:
        load_config(path, overrides)
    return str(info.value)


def test_defaults(write_config):
    config = load_config(write_config(BASE))
    assert config.decomposition.n_components == (10,)
    assert config.mask.method == "mean"
    assert config.inputs.on_missing == "error"
    assert config.matrix.negative == config.matrix.nan == "error"
    assert config.output.overwrite is False


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load(path):
    assert load_config(path).settings()["inputs"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_meet_the_schema(path):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(path.read_text()), PipelineConfig.model_json_schema())


@pytest.mark.parametrize("kind", ["integer", "array"])
def test_schema_takes_one_number_of_components_or_a_list(kind):
    section = PipelineConfig.model_json_schema()["$defs"]["DecompositionConfig"]
    options = section["properties"]["n_components"]["anyOf"]
    assert kind in [option["type"] for option in options]


def test_every_setting_is_described():
    schema = PipelineConfig.model_json_schema()
    for section in (schema["$defs"][name] for name in schema["$defs"]):
        assert all("description" in field for field in section["properties"].values())


def test_settings_are_a_file_that_a_run_can_start_from(write_config):
    config = load_config(write_config(BASE | {"decomposition": {"n_components": [3, 2]}}))
    again = load_config(write_config(yaml.safe_dump(config.settings()), "again.yaml"))
    assert again == config
    json.dumps(config.settings())


@pytest.mark.parametrize(
    ("section", "key", "near"),
    [
        ("inputs", "filter", "filters"),
        ("mask", "treshold", "threshold"),
        ("matrix", "smoothing", "smoothing_fwhm"),
        ("decomposition", "maxiter", "max_iter"),
        ("selection", "splits", "n_splits"),
        ("output", "directory", "dir"),
        ("report", "figure", "figures"),
        ("execution", "nprocs", "n_procs"),
    ],
)
def test_unknown_key(write_config, section, key, near):
    data = BASE | {section: BASE.get(section, {}) | {key: 1}}
    path = write_config(data)
    message = problem(path)
    assert message.startswith(f"{path}: {section}.{key}: unknown key")
    assert near in message.split("allowed here: ")[1].split(", ")
    if near != "dir":
        assert f"did you mean {near!r}?" in message


def test_unknown_section(write_config):
    message = problem(write_config(BASE | {"maks": {"threshold": 1}}))
    assert "maks: unknown key (did you mean 'mask'?)" in message


def test_unknown_key_of_the_simulation(write_config):
    message = problem(write_config({"inputs": {"simulation": {"n_subject": 9}}}))
    assert "inputs.simulation.n_subject: unknown key (did you mean 'n_subjects'?)" in message


def test_a_default_that_follows_from_a_problem_is_not_named(write_config):
    message = problem(write_config(BASE | {"selection": {"candidates": [2, 2]}}))
    assert "selection.candidates: the list has duplicate numbers" in message
    assert len(message.splitlines()) == 1


def test_every_problem_is_named_at_once(write_config):
    data = BASE | {"mask": {"coverage": 2}, "decomposition": {"tol": "small"}}
    message = problem(write_config(data))
    assert "mask.coverage" in message
    assert "decomposition.tol" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("mask.method=median", "'mean', 'coverage', 'template', 'image' or 'all', got 'median'"),
        ("mask.coverage=0", "greater than 0, got 0"),
        ("mask.coverage=1.5", "less than or equal to 1, got 1.5"),
        ("mask.threshold=.nan", "finite number"),
        ("mask.threshold=high", "valid number"),
        ("mask.method=image", "`method: image` requires `image: PATH`"),
        ("mask.image=mask.nii", "`method: image` requires `image: PATH`"),
        ("matrix.resample=to-mask", "matrix.resample: to-mask needs mask.method: image"),
        ("matrix.voxel_size=0", "greater than 0"),
        ("matrix.smoothing_fwhm=-1", "greater than 0"),
        ("matrix.negative=abs", "'error', 'clip' or 'shift', got 'abs'"),
        ("matrix.nan=mean", "'error', 'zero' or 'masked'"),
        ("decomposition.n_components=0", "greater than or equal to 1, got 0"),
        ("decomposition.n_components=[2, 2]", "duplicate numbers of components"),
        ("decomposition.n_components=[]", "the list is empty"),
        ("decomposition.n_components=ten", "valid integer"),
        ("decomposition.n_components=2.5", "valid integer"),
        ("decomposition.n_components=yes", "valid integer"),
        ("decomposition.solver=cd", "decomposition.solver"),
        ("decomposition.init=nndsdv", "'nndsvd', 'nndsvda', 'nndsvdar', 'brainparts' or 'random'"),
        ("decomposition.tol=-1", "greater than or equal to 0"),
        ("decomposition.max_iter=0", "greater than or equal to 1"),
        ("decomposition.random_state=-1", "greater than or equal to 0"),
        ("decomposition.dtype=float16", "'float32' or 'float64'"),
        ("selection.n_splits=-1", "greater than or equal to 0"),
        ("output.space=MNI 152", "output.space"),
        ("report.background=atlas", "'auto', 'template' or 'mean'"),
        ("execution.n_procs=0", "greater than or equal to 1"),
        ("inputs.on_missing=skip", "'error' or 'drop'"),
    ],
)
def test_impossible_values(write_config, override, expected):
    message = problem(write_config(BASE), override)
    assert expected in message
    assert override.split("=")[0].rsplit(".", 1)[0] in message


@pytest.mark.parametrize(
    ("section", "value"), [("inputs", "data"), ("mask", 0.1), ("decomposition", [10])]
)
def test_section_of_the_wrong_type(write_config, section, value):
    message = problem(write_config(BASE | {section: value}))
    assert f"{section}: expected keys and values" in message
    assert "Config" not in message


def test_sources_exclude_each_other(write_config):
    both = problem(write_config({"inputs": {"bids": "a", "glob": "*.nii"}}))
    assert (
        "inputs: set exactly one of bids, table, glob, features, simulation; got bids and glob"
        in both
    )
    none = problem(write_config({"inputs": {"filters": {"label": "GM"}}}))
    assert "none is set" in none
    assert "inputs: is required" in problem(write_config("mask:\n  threshold: 0.2\n"))


def test_an_override_replaces_the_source(write_config):
    path = write_config(BASE)
    config = load_config(path, ["inputs.glob=a*", "inputs.simulation={n_subjects: 9}"])
    assert config.inputs.bids is config.inputs.glob is None
    assert config.inputs.simulation.n_subjects == 9
    assert load_config(path, ["inputs.table="]).inputs.bids


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected sections (inputs, mask,"),
        ("# nothing yet\n", "expected sections (inputs, mask,"),
        ("- inputs\n- mask\n", "expected sections (inputs, mask,"),
        ("just words", "expected sections (inputs, mask,"),
        ("inputs: {bids: [", "not valid YAML"),
        ("\tinputs:\n", "not valid YAML"),
        ("inputs: {bids: a}\n1: {}\n", "1"),
        ("inputs: {bids: a}\nmask: {threshold: 1}\nmask: {threshold: 2}\n", "duplicate key 'mask'"),
    ],
)
def test_files_that_are_no_settings(write_config, text, expected):
    path = write_config(text)
    message = problem(path)
    assert message.startswith(f"{path}: ")
    assert expected in message


def test_unreadable_files(tmp_path):
    assert "nowhere.yaml: cannot be read (No such file" in problem(tmp_path / "nowhere.yaml")
    assert "cannot be read (Is a directory)" in problem(tmp_path)
    image = tmp_path / "image.nii.gz"
    image.write_bytes(b"\x1f\x8b\x08\xff")
    assert "cannot be read (not a text file)" in problem(image)


def test_relative_paths_start_at_the_file_and_overrides_at_the_current_folder(
    tmp_path, monkeypatch, write_config
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = write_config({"inputs": {"table": "t.tsv"}, "output": {"dir": "../out"}})
    config = load_config(Path("..") / path.name, ["execution.work_dir=work"])
    assert config.inputs.table == tmp_path / "t.tsv"
    assert config.output.dir == tmp_path.parent / "out"
    assert config.execution.work_dir == tmp_path / "elsewhere" / "work"


@pytest.mark.parametrize("value", ["lh.csv", ["lh.csv", "../rh.csv"]], ids=["one", "several"])
def test_lists_of_relative_paths_start_at_the_file(tmp_path, write_config, value):
    config = load_config(write_config({"inputs": {"features": value}}))
    assert (
        config.inputs.features
        == (tmp_path / "lh.csv", tmp_path.parent / "rh.csv")[: 1 if isinstance(value, str) else 2]
    )
    overrides = load_config(None, [f"inputs.features={str(value).replace(chr(39), '')}"])
    assert overrides.inputs.features[0] == Path.cwd() / "lh.csv"


def test_home_and_absolute_paths(write_config, monkeypatch):
    monkeypatch.setenv("HOME", "/home/lab")
    config = load_config(write_config({"inputs": {"bids": "~/data"}, "output": {"dir": "/o"}}))
    assert config.inputs.bids == Path("/home/lab/data")
    assert config.output.dir == Path("/o")


def test_a_folder_may_be_called_like_a_number(write_config):
    config = load_config(write_config(BASE), ["output.dir=2024"])
    assert config.output.dir == Path.cwd() / "2024"


def test_overrides_nest_and_merge(write_config):
    path = write_config(
        {"inputs": {"bids": "data", "filters": {"label": "GM"}}, "mask": {"threshold": 0.3}}
    )
    config = load_config(
        path,
        ["inputs.filters.run=[1, 2]", "mask.method=coverage", "decomposition.n_components=[4, 5]"],
    )
    assert config.inputs.filters == {"label": ["GM"], "run": ["1", "2"]}
    assert config.mask.threshold == 0.3
    assert config.mask.method == "coverage"
    assert config.decomposition.n_components == (4, 5)


@pytest.mark.parametrize("value", ["[age, sex]", "age + sex", "'age + sex'"])
def test_a_formula_of_an_override_may_be_a_list_of_terms(write_config, value):
    overrides = [f"matrix.covariates={value}", f"matrix.harmonize.covariates={value}"]
    matrix = load_config(write_config(BASE), [*overrides, "matrix.harmonize.batch=site"]).matrix
    assert matrix.covariates == matrix.harmonize.covariates == "age + sex"


def test_the_last_override_wins(write_config):
    config = load_config(write_config(BASE), ["mask.threshold=1", "mask.threshold=2"])
    assert config.mask.threshold == 2


@pytest.mark.parametrize("item", ["mask.threshold", "threshold=1", "=1", "mask"])
def test_override_without_a_key_or_value(write_config, item):
    assert f"--set {item!r}: expected section.key=value" in problem(write_config(BASE), item)


def test_a_key_without_its_section_is_told_where_it_belongs(write_config):
    message = problem(write_config(BASE | {"n_components": 5}))
    assert "n_components: unknown key (did you mean decomposition.n_components?)" in message
    message = problem(write_config(BASE), "covariates=[age]")
    assert "section.key=value (did you mean matrix.covariates or report.covariates?)" in message


def test_override_that_is_not_yaml(write_config):
    message = problem(write_config(BASE), "mask.threshold=[1")
    assert "--set 'mask.threshold=[1': not valid YAML: line 1: expected ',' or ']'" in message


def test_a_problem_of_an_override_is_not_blamed_on_the_file(write_config):
    path = write_config(BASE | {"mask": {"coverage": 7}})
    lines = problem(path, "mask.treshold=1").splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == sorted([str(path), "--set"])


def test_settings_cannot_be_changed_by_accident(write_config):
    config = load_config(write_config(BASE))
    with pytest.raises(ValidationError):
        config.mask.threshold = 3


@pytest.mark.parametrize(
    ("option", "accepted"),
    [("solver", SOLVERS), ("init", set(INITS) - {"custom"}), ("dtype", DTYPES)],
)
def test_choices_are_those_of_the_estimator(option, accepted):
    assert set(get_args(DecompositionConfig.model_fields[option].annotation)) == set(accepted)


def test_defaults_are_those_of_the_estimator():
    parameters = inspect.signature(OPNMF).parameters
    options = DecompositionConfig()
    for name in ("init", "tol", "max_iter", "dtype"):
        assert getattr(options, name) == parameters[name].default
    assert options.n_components == (parameters["n_components"].default,)


def test_runs_use_the_best_solver_and_the_estimator_the_published_one():
    assert DecompositionConfig().solver == "adaptive"
    assert OPNMF().solver == "multiplicative"


@pytest.mark.parametrize(
    ("selection", "rule"),
    [
        ({}, None),
        ({"n_splits": 1}, None),  # one split has no spread
        ({"n_splits": 1, "n_permutations": 1}, "null-crossing"),
        ({"n_splits": 2, "n_permutations": 1}, "reproducibility-peak"),
        ({"leave_out": "site", "n_permutations": 1}, "reproducibility-peak"),
        ({"n_splits": 2, "rule": "weighted"}, "weighted"),
    ],
)
def test_the_rule_follows_what_there_is_to_compare(selection, rule):
    assert SelectionConfig.model_validate(selection).rule_used == rule


def test_each_number_of_components_is_fitted_once():
    sections = {"decomposition": {"n_components": [3, 2]}, "selection": {"candidates": [2, 4, 3]}}
    config = PipelineConfig.model_validate(BASE | sections)
    assert config.ranks == (3, 2, 4)
    assert config.n_fits(n_splits=5) == 3 * (1 + 2 * 5)
    assert config.compared == (2, 4, 3)
    assert PipelineConfig.model_validate(BASE).compared == (10,)


def test_a_number_that_is_not_compared_is_fitted_once():
    sections = {"decomposition": {"n_components": 9}, "selection": {"candidates": [2, 4]}}
    config = PipelineConfig.model_validate(BASE | sections)
    assert config.n_fits(n_splits=5) == 3 + 2 * (2 * 5)


def test_seeds_of_permutations_count_on_from_that_of_the_settings():
    selection = SelectionConfig(random_state=7, n_permutations=3)
    assert selection.permutation_seeds == [7, 8, 9]
    assert SelectionConfig(random_state=7).permutation_seeds == []


@pytest.mark.parametrize(
    ("selection", "n_starts"),
    [
        ({}, 0),
        ({"n_permutations": 1}, 0),
        ({"n_splits": 1}, 3),
        ({"leave_out": "site"}, 3),
        ({"n_splits": 2, "n_starts": 0}, 0),
        ({"n_starts": 5}, 5),
    ],
)
def test_starts_are_compared_where_halves_are(selection, n_starts):
    assert SelectionConfig.model_validate(selection).n_starts == n_starts


def test_one_start_cannot_be_compared():
    with pytest.raises(ValidationError, match="one start cannot be compared; set 2 or more, or 0"):
        SelectionConfig(n_starts=1)


def test_one_random_pair_has_no_spread():
    with pytest.raises(ValidationError, match="one pair has no standard deviation; set 2 or more"):
        SelectionConfig(n_null=1)
    assert SelectionConfig(n_null=0).of_null() == {"n_null": 0}


def test_each_start_and_each_half_has_another_seed():
    sections = {"decomposition": {"random_state": 5}, "selection": {"n_starts": 3}}
    config = PipelineConfig.model_validate(BASE | sections)
    assert config.start_seeds == [6, 7, 8]
    fits = [config.decomposition.from_random_start(number) for number in (1, 2)]
    assert [(fit.init, fit.random_state) for fit in fits] == [("random", 6), ("random", 7)]
    assert fits[0].model_copy(update={"init": "nndsvd", "random_state": 5}) == config.decomposition
    last = DecompositionConfig(random_state=2**31 - 1)
    assert last.from_random_start(2).random_state == 1  # the largest seed is followed by 0


def test_a_shared_start_doubles_the_fits_of_halves():
    selection = {"n_splits": 5, "n_starts": 2, "shared_start": True, "n_permutations": 4}
    config = PipelineConfig.model_validate(BASE | {"selection": selection})
    assert config.n_fits(n_splits=5) == 1 + 2 + 4 * 5 + 4


def test_all_that_splits_depend_on():
    splits = {"n_splits": 3, "stratify": ["age"], "n_bins": 2, "groups": "family"}
    selection = SelectionConfig(**splits, random_state=5, n_permutations=1, candidates=[2])
    assert selection.of_splits() == {**splits, "random_state": 5, "leave_out": None}
