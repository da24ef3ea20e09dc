"""The settings of a stage as options, from which the inputs of both kinds of nodes are made."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

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
        Type of the value, or of each item of a list: str, int, float, bool, Path or dict.
    default : object
        Default; None if there is none.
    choices : tuple
        Allowed values; empty if any value of the type is allowed.
    low, high : float or None
        Smallest and largest allowed number; None for no limit.
    open_low : bool
        Whether the number must be larger than ``low``.
    many : bool
        Whether the value is a list.
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
        Settings that are left out.

    Returns
    -------
    list of Option
        In the order of the settings.
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
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    origin = typing.get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, Section):
        return dict, (), False
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
