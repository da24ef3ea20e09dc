"""Read the settings of a run from a YAML file and the command line; errors name the wrong key."""

from __future__ import annotations

import difflib
import os
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from opnmf_pipeline.config.section import Section
from opnmf_pipeline.config.settings import SOURCES, PipelineConfig
from opnmf_pipeline.exceptions import ConfigError

__all__ = ["load_config"]

UNKNOWN_KEY_MSG = "unknown key{hint}; allowed here: {allowed}"


def load_config(path: str | Path | None, overrides: typing.Iterable[str] = ()) -> PipelineConfig:
    """Read a YAML file of settings.

    Parameters
    ----------
    path : path or None
        YAML file with the sections of :class:`PipelineConfig`. Relative paths in it are relative
        to the folder of the file. None: use only the overrides.
    overrides : iterable of str
        ``section.key=value`` items that replace settings of the file; values are YAML, and
        relative paths in them are relative to the current folder. A source of images replaces
        all earlier sources.

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
        data = _anchored(_read_yaml(path), PipelineConfig, path.resolve().parent)
    overrides = list(overrides)
    for item in overrides:
        override = _anchored(_parse_override(item), PipelineConfig, Path.cwd())
        data = _merged(_without_replaced(data, override), override)
    try:
        return PipelineConfig.model_validate(data)
    except ValidationError as error:
        overridden = tuple(item.partition("=")[0].strip() for item in overrides)
        raise ConfigError(_explain(error, path, overridden)) from None


class _Loader(yaml.SafeLoader):
    """Reject duplicate keys: YAML itself would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if key.value in keys[:number]:
                raise yaml.MarkedYAMLError(
                    problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"{path}: cannot be read ({reason}); check the path") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        sections = ", ".join(PipelineConfig.model_fields)
        raise ConfigError(f"{path}: expected sections ({sections}), got {type(data).__name__}")
    return {section: value for section, value in data.items() if value is not None}


def _parse_override(item: str) -> dict[str, Any]:
    name, equals, text = item.partition("=")
    *sections, key = name.strip().split(".")
    if not equals or not sections:
        raise ConfigError(f"--set {item!r}: expected section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {item!r}: the value is not valid YAML") from None
    nested: dict[str, Any] = {key: value}
    for section in reversed(sections):
        nested = {section: nested}
    return nested


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


def _anchored(data: dict[str, Any], model: type[BaseModel], base: Path) -> dict[str, Any]:
    """Return ``data`` with each relative path of the fields of ``model`` joined to ``base``."""
    hints = typing.get_type_hints(model)
    anchored = dict(data)
    for key, value in data.items():
        # YAML reads the folder name 2024 as a number; a bool is not a name
        if type(value) in (str, int) and _accepts(hints.get(key), Path):
            # Path.expanduser fails if the user does not exist
            anchored[key] = os.path.normpath(base / os.path.expanduser(str(value)))  # noqa: PTH111
        elif isinstance(value, dict) and (section := _section(hints.get(key))):
            anchored[key] = _anchored(value, section, base)
    return anchored


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _accepts(hint: Any, kind: type) -> bool:
    return kind in _options(hint)


def _section(hint: Any) -> type[Section] | None:
    for option in _options(hint):
        if isinstance(option, type) and issubclass(option, Section):
            return option
    return None


def _explain(error: ValidationError, path: Path | None, overridden: tuple[str, ...]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        source = "--set" if path is None or where.startswith(overridden) else path
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = _unknown_key(problem["loc"])
        elif problem["type"] == "missing":
            message = "is required"
        elif problem["type"] == "model_type":
            message = f"expected keys and values, got {problem['input']!r}"
        elif not isinstance(problem["input"], dict | BaseModel):
            message = f"{message[0].lower()}{message[1:]}, got {problem['input']!r}"
        lines.append(f"{source}: {where + ': ' if where else ''}{message}")
    return "\n".join(lines)


def _unknown_key(location: tuple[int | str, ...]) -> str:
    model: type[Section] = PipelineConfig
    for part in location[:-1]:
        model = _section(typing.get_type_hints(model)[str(part)]) or model
    allowed = list(model.model_fields)
    near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return UNKNOWN_KEY_MSG.format(hint=hint, allowed=", ".join(allowed))
