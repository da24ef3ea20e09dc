"""Settings: the loader and the JSON Schema agree, and no text ends in an error of another kind."""

import time
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from opnmf_pipeline.config import PipelineConfig, Section, load_config
from opnmf_pipeline.exceptions import ConfigError
from tests.robustness.generated import cases

SCHEMA = jsonschema.Draft202012Validator(PipelineConfig.model_json_schema())
NUMBERS = (
    st.integers(-3, 30)
    | st.sampled_from([10**5, 10**5 + 1, 2**31 - 1, 2**31, 10**9 + 1, 10**30, 2.0, 1e300, 0.5])
    | st.floats(-5, 200).map(lambda number: round(number, 3))
)
WORDS = st.sampled_from(
    (
        *("", "true", "yes", "NO", "null", "None", "NA", "~", "007", "010", "1_0", "10:12", "1e3"),
        *("0x1F", ".inf", "mean", "error", "local", "float32", "nndsvd", "a # b", "a: b", "\u2028"),
    )
)
SCALARS = NUMBERS | WORDS | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "label", "n_subjects"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def sections_of(field):
    options = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return [one for one in options if isinstance(one, type) and issubclass(one, Section)]


def keys(model=PipelineConfig, place=()):
    """Yield the place of every setting that is no section."""
    for name, field in model.model_fields.items():
        inner = sections_of(field)
        for section in inner:
            yield from keys(section, (*place, name))
        if not inner:
            yield (*place, name)


KEYS = sorted(keys())


REQUIRED = {
    ("inputs", "masks"): {"missing": "zero"},
    ("matrix", "harmonize"): {"batch": "site"},
    ("matrix", "scale"): {"by": "tiv"},
}
"""Settings that a section needs, besides the one that is tested."""


def with_value(place, value):
    data = {"inputs": {"bids": "data"}}
    inner = data
    for name in place[:-1]:
        inner = inner.setdefault(name, {})
    inner |= REQUIRED.get(place[:-1], {})
    inner[place[-1]] = value
    return data


def refused_by_schema(data, place):
    return any(
        tuple(error.absolute_path)[: len(place)] == place
        or (not error.absolute_path and error.validator != "additionalProperties")
        or tuple(error.absolute_path) == place[: len(error.absolute_path)]
        for error in SCHEMA.iter_errors(data)
    )


def refused_by_loader(path, place):
    try:
        load_config(path)
    except ConfigError as error:
        return f": {'.'.join(place)}" in str(error)
    return False


@pytest.mark.parametrize("place", KEYS, ids=".".join)
def test_the_schema_accepts_what_the_loader_accepts(place, tmp_path):
    path = tmp_path / "config.yaml"

    @cases(quick=5)
    @given(value=VALUES)
    def agree(value):
        if place == ("output", "space"):  # a JSON Schema cannot tell 2.0 from 2
            assume(not isinstance(value, float))
        if place[-1] == "n_components":  # allowed together with selection.candidates
            assume(value != [])
        data = with_value(place, value)
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
        if place == ("selection", "range"):  # nor compare it with decomposition.n_components
            assume("contains none of the numbers of components" not in problem(path))
        assert refused_by_schema(data, place) == refused_by_loader(path, place)

    agree()


@pytest.mark.parametrize(
    ("place", "value", "accepted"),
    [
        (("mask", "threshold"), True, False),
        (("mask", "threshold"), 1, True),
        (("mask", "threshold"), "0.1", False),
        (("selection", "n_splits"), 2.0, True),
        (("selection", "n_splits"), 2.5, False),
        (("selection", "n_splits"), 10**30, False),
        (("decomposition", "n_components"), [2, 2], False),
        (("report", "figures"), 1, False),
        (("report", "figures"), "yes", False),
        (("output", "dir"), 2024, True),
        (("output", "space"), 152, True),
        (("inputs", "filters"), {"run": [1, None]}, True),
    ],
)
def test_both_know_the_types(place, value, accepted, tmp_path):
    data = with_value(place, value)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    assert refused_by_schema(data, place) != accepted
    assert refused_by_loader(path, place) != accepted


def problem(path, overrides=()):
    """Return the message of the error; of settings, text with all that a message must have."""
    try:
        load_config(path, overrides)
    except ConfigError as error:
        return str(error)
    return f"{path}: --set: no problem"


PIECES = st.sampled_from(
    (
        *("inputs", "mask", ":", ": ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "!!int ", "!x "),
        *("'", '"', "#", " #", "\n", "\n  ", "|", ">", "?", "%", "@", "`", "<<", "---", "..."),
        *("\t", "\0", "\\", "bids", "a", "007", "~", "é", "\ufeff", "\x85", "\ud7ff", "="),
        *("!!binary ", "!!set "),
    )
)


@cases(quick=100)
@given(pieces=st.lists(PIECES, max_size=14))
def test_any_text_is_settings_or_an_error_with_the_file(pieces, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text("".join(pieces), encoding="utf-8")
    assert problem(path).startswith(f"{path}: ")


@cases(quick=60)
@given(content=st.binary(max_size=40))
def test_any_bytes_are_settings_or_an_error_with_the_file(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bytes\.yaml: "):
        load_config(path)


@cases(quick=60)
@given(place=st.sampled_from(KEYS), pieces=st.lists(PIECES, max_size=8))
def test_any_override_is_a_setting_or_an_error_with_the_key(place, pieces):
    item = f"{'.'.join(place)}={''.join(pieces)}"
    assert "--set" in problem(None, [("inputs.bids", "data"), item])


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20
).filter(lambda name: name.strip() == name and name not in {"~", "null", ".", ".."})


@cases(quick=60)
@given(name=NAMES.filter(lambda name: not (name[0] == name[-1] and name[0] in "'\"")))
def test_a_path_needs_no_quotes(name):
    folder = Path("/data") / name
    assert load_config(None, [f"inputs.bids={folder}"]).inputs.bids == folder
    assert load_config(None, [("inputs.bids", folder)]).inputs.bids == folder


@pytest.mark.parametrize(
    "text",
    ["007", "01", "TRUE", "NA", "None", "1_0", "10:12", "010", "NO", "0x1F", "1e3", '"quoted"'],
)
def test_text_without_quotes_is_kept(text, tmp_path):
    path = tmp_path / "config.yaml"
    written = text if text[0] != '"' else f"'{text}'"
    path.write_text(
        f"inputs:\n  bids: data\n  filters: {{label: {written}}}\n"
        f"selection:\n  stratify: [{written}]\n  groups: {written}\n"
    )
    config = load_config(path)
    assert config.inputs.filters == {"label": [text]}
    assert config.selection.stratify == (text,)
    assert config.selection.groups == text
    assert load_config(path, [f"selection.groups={written}"]).selection.groups == text


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a [*a]",
        "[" * 100_000,
        "a: " + "[" * 200 + "]" * 200,
        "selection: {n_splits: " + "9" * 5000 + "}",
        "selection: {n_splits: 1000000000000000000000000000000}",
        "mask: {threshold: 1e" + "9" * 5000 + "}",
        "x" * 2_000_000,
        "{" + "?" * 1000,
    ],
    ids=range(9),
)
def test_what_would_take_long_is_refused_at_once(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("inputs: {bids: data}\n" + text)
    start = time.monotonic()
    with pytest.raises(ConfigError) as info:
        load_config(path)
    assert time.monotonic() - start < 5
    assert len(str(info.value)) < 2000
    assert str(info.value).startswith(f"{path}: ")


def test_an_error_names_the_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("inputs: {bids: data}\nmask:\n  threshold: !!int 3\n")
    with pytest.raises(ConfigError, match=r"config.yaml: not valid YAML: line 3: the tag 'int'"):
        load_config(path)
