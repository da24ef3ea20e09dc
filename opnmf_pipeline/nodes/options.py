"""Options of a stage as fields that both engines understand, read from the settings."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

import annotated_types
from pydantic.fields import FieldInfo

from opnmf_pipeline.config import Section

__all__ = ["Option", "options_of"]


@dataclass(frozen=True)
class Option:
    """One setting of a stage.

    Attributes
    ----------
    name, description : str
        As in the settings.
    kind : type
        str, int, float, bool, Path or dict.
    default : object
        None where the option may be left unset.
    choices : tuple
        Allowed values; empty where the kind or the range decides.
    low, high : number or None
        Range of a number.
    open_low : bool
        Whether ``low`` itself is excluded.
    many : bool
        Whether it is a list.
    """

    name: str
    kind: type
    default: Any
    description: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    many: bool = False


def options_of(section: type[Section], *, without: tuple[str, ...] = ()) -> list[Option]:
    """Return the settings of a section as options of a node.

    Parameters
    ----------
    section : type of Section
        Section of :class:`opnmf_pipeline.config.PipelineConfig`.
    without : tuple of str
        Settings that the node takes in another form.
    """
    fields = section.model_fields.items()
    return [_option(name, field) for name, field in fields if name not in without]


def _option(name: str, field: FieldInfo) -> Option:
    kind, choices, many = _kind(field.annotation)
    low, high, open_low = _range(field.metadata)
    default = field.get_default(call_default_factory=True, validated_data={})
    return Option(
        name=name,
        kind=kind,
        default=list(default) if isinstance(default, tuple) else default,
        description=str(field.description),
        choices=choices,
        low=low,
        high=high,
        open_low=open_low,
        many=many,
    )


def _kind(annotation: Any) -> tuple[type, tuple[Any, ...], bool]:
    """Return the type of a setting, its choices, and whether it is a list."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        (annotation,) = [one for one in typing.get_args(annotation) if one is not type(None)]
    origin = typing.get_origin(annotation) or annotation
    if origin is Literal:
        choices = typing.get_args(annotation)
        return type(choices[0]), choices, False
    if origin is tuple:
        return typing.get_args(annotation)[0], (), True
    return origin, (), False


def _range(metadata: list[Any]) -> tuple[float | None, float | None, bool]:
    low: Any = None
    high: Any = None
    open_low = False
    for constraint in metadata:
        match constraint:
            case annotated_types.Ge(ge=value):
                low = value
            case annotated_types.Gt(gt=value):
                low, open_low = value, True
            case annotated_types.Le(le=value):
                high = value
    return low, high, open_low
