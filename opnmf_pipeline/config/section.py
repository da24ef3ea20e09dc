"""What all sections of the settings share: types and limits of values, and their JSON Schema."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from opnmf_pipeline.files import is_utf8

__all__ = [
    "COARSEST",
    "LARGEST_SEED",
    "MOST_COMPONENTS",
    "MOST_FITS",
    "MOST_PROCESSES",
    "TEXT",
    "ComponentCount",
    "ComponentCounts",
    "Names",
    "Paths",
    "Section",
    "allow_text",
    "as_list",
    "one_or_several",
]

TEXT = ["string", "number", "boolean"]
"""JSON types of text without quotes: in YAML, the names 01 and true look like other types."""


MOST_COMPONENTS = 100_000
MOST_FITS = 100_000
LARGEST_SEED = 2**31 - 1
MOST_PROCESSES = 10_000
COARSEST = 100.0
"""Largest voxel size and smoothing, in mm: no head is larger."""


class Section(BaseModel):
    """Options of one stage. Instances are frozen; unknown keys are errors.

    Values are not converted: ``true`` is no number, and ``"1"`` is no number either.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _of_a_file(cls, value: Any, info: ValidationInfo) -> Any:
        """Accept the types of a file: text for paths, lists, and 2.0 for the integer 2."""
        leaves = _leaves(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, list | tuple) and dict not in leaves:
            return tuple(_of_type(one, leaves) for one in value)
        return _of_type(value, leaves)

    @field_validator("*")
    @classmethod
    def _usable_path(cls, value: Any) -> Any:
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path) and "\0" in str(path):
                raise ValueError("a path cannot contain the character NUL")
            if isinstance(path, Path) and not is_utf8(path):
                raise ValueError("the name of this file or of its folder is not UTF-8; rename it")
        return value

    def settings(self) -> dict[str, Any]:
        """Return all settings that have a value as plain values, as in a YAML file."""
        return self.model_dump(mode="json", exclude_none=True)


def _leaves(annotation: Any) -> set[Any]:
    """Return the types in an annotation."""
    inner = typing.get_args(annotation)
    return set().union(*map(_leaves, inner)) if inner else {annotation}


def _of_type(value: Any, leaves: set[Any]) -> Any:
    if isinstance(value, str) and Path in leaves:
        return Path(value)
    whole = type(value) is float and value.is_integer() and int in leaves and float not in leaves
    return int(value) if whole else value


def one_or_several(schema: dict[str, Any], **limits: Any) -> WithJsonSchema:
    """Return the JSON Schema of one value or a list of values."""
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema, **limits}]})


def as_list(value: Any) -> Any:
    """Return a list or a tuple as a tuple, and any other value as a tuple of one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _without_twins(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) != len(value):
        raise ValueError("the list has duplicate numbers of components")
    return value


ComponentCount = Annotated[int, Field(ge=1, le=MOST_COMPONENTS)]


ComponentCounts = Annotated[
    tuple[ComponentCount, ...],
    BeforeValidator(as_list),
    AfterValidator(_without_twins),
    one_or_several({"type": "integer", "minimum": 1, "maximum": MOST_COMPONENTS}, uniqueItems=True),
]


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(as_list),
    one_or_several({"type": TEXT}),
]


def _not_empty(value: tuple[Path, ...]) -> tuple[Path, ...]:
    if not value:
        raise ValueError("the list is empty")
    return value


Paths = Annotated[
    tuple[Path, ...],
    BeforeValidator(as_list),
    AfterValidator(_not_empty),
    one_or_several({"type": "string", "format": "path"}, minItems=1),
]


def allow_text(schema: Any) -> None:
    """Allow text without quotes, such as a folder called 2024, in a JSON Schema."""
    if isinstance(schema, list):
        for one in schema:
            allow_text(one)
    elif isinstance(schema, dict):
        for one in schema.values():
            allow_text(one)
        if schema.get("type") == "string" and "pattern" in schema:
            label = {"type": schema.pop("type"), "pattern": schema.pop("pattern")}
            schema["anyOf"] = [label, {"type": "integer", "minimum": 0}, {"type": "boolean"}]
        elif schema.get("type") == "string" and "enum" not in schema:
            schema["type"] = TEXT
