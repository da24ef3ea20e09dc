"""Read the settings of a run from a YAML file and the command line; errors name the wrong key."""

from __future__ import annotations

import difflib
import os
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from opnmf_pipeline.config.inputs import SOURCES
from opnmf_pipeline.config.parsing import Plain, parse_yaml, read_yaml, resolved
from opnmf_pipeline.config.section import Section
from opnmf_pipeline.config.settings import PipelineConfig
from opnmf_pipeline.exceptions import ConfigError

__all__ = ["Override", "load_config", "problems_of"]

LONGEST_VALUE = 200
UNKNOWN_KEY_MSG = "unknown key{hint}; allowed here: {allowed}"
NO_SECTION_MSG = "--set {item!r}: expected section.key=value{hint}"


Override = str | tuple[str, Any]


def load_config(
    path: str | Path | None, overrides: typing.Iterable[Override] = ()
) -> PipelineConfig:
    """Read a YAML file of settings.

    Parameters
    ----------
    path : path or None
        YAML file with the sections of :class:`PipelineConfig`. Relative paths in it are relative
        to the folder of the file. None: use only the overrides.
    overrides : iterable of str or (str, object)
        ``section.key=value`` items, or pairs of key and value, that replace settings of the file.
        A value in an item is YAML; names and paths need no quotes. Relative paths are relative to
        the current folder. A source of images replaces all earlier sources.

    Returns
    -------
    PipelineConfig
        The validated settings; every path in it is absolute.

    Raises
    ------
    ConfigError
        The file cannot be read. Or the file or an override has an unknown key or an invalid value.
    """
    data: dict[str, Any] = {}
    if path is not None:
        path = Path(path)
        data = _typed(_read_sections(path), PipelineConfig, path.resolve().parent)
    overrides = list(overrides)
    for item in overrides:
        override = _typed(_parse_override(item), PipelineConfig, Path.cwd())
        data = _merged(_without_replaced(data, override), override)
    try:
        return PipelineConfig.model_validate(data)
    except ValidationError as error:
        overridden = tuple(_name(item) for item in overrides)
        raise ConfigError(_explain(error, path, overridden)) from None


def _name(item: Override) -> str:
    return item[0] if isinstance(item, tuple) else item.partition("=")[0].strip()


def _read_sections(path: Path) -> dict[str, Any]:
    data = read_yaml(path)
    if not isinstance(data, dict):
        sections = ", ".join(PipelineConfig.model_fields)
        raise ConfigError(f"{path}: expected sections ({sections}), got {type(data).__name__}")
    return {section: value for section, value in data.items() if value is not None}


def _parse_override(item: str | tuple[str, Any]) -> dict[str, Any]:
    """Return an override as nested sections."""
    if isinstance(item, tuple):
        name, value = item
    else:
        name, equals, text = item.partition("=")
        if not equals or "." not in name:
            raise ConfigError(NO_SECTION_MSG.format(item=item, hint=_elsewhere(name.strip())))
        value = _value_of(text, _hint_of(name), f"--set {item!r}")
    *sections, key = name.strip().split(".")
    nested: dict[str, Any] = {key: value}
    for section in reversed(sections):
        nested = {section: nested}
    return nested


def _value_of(text: str, hint: Any, source: str) -> Any:
    """Parse the value of an override; text without quotes or brackets is taken as it is."""
    quoted = text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1
    several = text[:1] in ("[", "{") and not _takes_one_text(hint)
    if quoted or several or not _takes_text(hint):
        return parse_yaml(text, source)
    return None if text.strip() in ("", "~", "null") else Plain(text)


def _hint_of(name: str) -> Any:
    """Return the type of a setting with its annotations, None for an unknown key."""
    hint: Any = PipelineConfig
    for part in name.strip().split("."):
        if (section := _section(hint)) is not None:
            hint = typing.get_type_hints(section, include_extras=True).get(part)
        elif typing.get_origin(hint) is dict:
            hint = typing.get_args(hint)[1]
        else:
            return None
    return hint


def _without_replaced(data: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the source of images that an override replaces."""
    new = {key for key, value in override.get("inputs", {}).items() if value is not None}
    inputs = data.get("inputs")
    if not isinstance(inputs, dict) or new.isdisjoint(SOURCES):
        return data
    return {**data, "inputs": {key: inputs[key] for key in inputs if key not in {*SOURCES} - new}}


def _merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _typed(data: dict[str, Any], model: type[BaseModel], base: Path) -> dict[str, Any]:
    """Return ``data`` with scalars of the types of ``model``, and paths relative to ``base``."""
    hints = typing.get_type_hints(model)
    typed: dict[str, Any] = {}
    for key, value in data.items():
        hint = hints.get(key)
        section = _section(hint)
        if section is not None and isinstance(value, dict):
            typed[key] = _typed(value, section, base)
        elif section is not None and isinstance(value, list):
            typed[key] = [
                _typed(one, section, base) if isinstance(one, dict) else resolved(one)
                for one in value
            ]
        elif Path in _options(hint) and isinstance(value, str | Path):
            typed[key] = _path(value, base)
        elif tuple[Path, ...] in _options(hint):
            several = value if isinstance(value, list) else [value]
            typed[key] = [
                _path(one, base) if isinstance(one, str | Path) else one for one in several
            ]
        else:
            typed[key] = _as_text(value) if _takes_text(hint) else resolved(value)
    return typed


def _path(value: str | Path, base: Path) -> Path:
    # Path.expanduser fails if the user does not exist
    return Path(os.path.normpath(base / os.path.expanduser(str(value))))  # noqa: PTH111


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_text(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    return str(value) if isinstance(value, Plain) else value


def _options(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def _takes_text(hint: Any) -> bool:
    """Return whether the values of a setting are text: names, choices and paths."""
    if typing.get_origin(hint) is dict:
        return _takes_text(typing.get_args(hint)[1])
    if typing.get_origin(hint) is typing.Literal:
        return True
    return hint in (str, Path) or any(map(_takes_text, typing.get_args(hint)))


def _takes_one_text(hint: Any) -> bool:
    """Return whether a value is one text; a type with annotations may take a list of texts, too."""
    return all(one in (str, Path, type(None)) for one in _options(hint))


def _section(hint: Any) -> type[Section] | None:
    """Return the section of a setting, or the section of each item of its list."""
    for option in _options(hint):
        if typing.get_origin(option) is tuple:
            option = typing.get_args(option)[0]
        if isinstance(option, type) and issubclass(option, Section):
            return option
    return None


def _explain(error: ValidationError, path: Path | None, overridden: tuple[str, ...]) -> str:
    lines = []
    for where, line in problems_of(error, PipelineConfig):
        source = "--set" if path is None or where.startswith(overridden) else path
        lines.append(f"{source}: {line}")
    return "\n".join(lines)


def problems_of(error: ValidationError, model: type[Section]) -> list[tuple[str, str]]:
    """Return each wrong setting of a model, such as a section, and a line that explains it."""
    found = []
    for problem in error.errors(include_url=False):
        if problem["type"] == "default_factory_not_called":  # only follows from another problem
            continue
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = _unknown_key(problem["loc"], model)
        elif problem["type"] == "missing":
            message = "is required"
        elif problem["type"] == "model_type":
            message = f"expected keys and values, got {_short(problem['input'])}"
        elif not isinstance(problem["input"], dict | BaseModel):
            message = f"{message[0].lower()}{message[1:]}, got {_short(problem['input'])}"
        found.append((where, f"{where + ': ' if where else ''}{message}"))
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _unknown_key(location: tuple[int | str, ...], model: type[Section]) -> str:
    for part in location[:-1]:
        if isinstance(part, str):  # a number is the place of a section in a list
            model = _section(typing.get_type_hints(model)[part]) or model
    allowed = list(model.model_fields)
    key = str(location[-1])
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else _elsewhere(key)
    return UNKNOWN_KEY_MSG.format(hint=hint, allowed=", ".join(allowed))


def _elsewhere(key: str) -> str:
    """Return the sections in which a key without its section is allowed, for a message."""
    hints = typing.get_type_hints(PipelineConfig)
    sections = {name: _section(hint) for name, hint in hints.items()}
    places = [
        f"{name}.{key}"
        for name, section in sections.items()
        if section and key in section.model_fields
    ]
    return f" (did you mean {' or '.join(places)}?)" if places else ""
