"""What the sections of the settings have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

__all__ = ["ComponentCounts", "Names", "Section", "as_list"]


class Section(BaseModel):
    """Options of one stage. Instances are frozen; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def settings(self) -> dict[str, Any]:
        """Return all settings that have a value as plain values, as in a YAML file."""
        return self.model_dump(mode="json", exclude_none=True)


def as_list(value: Any) -> Any:
    """Return a list or a tuple unchanged, and any other value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _without_twins(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) != len(value):
        raise ValueError("the list has duplicate numbers of components")
    return value


ComponentCounts = Annotated[
    tuple[Annotated[int, Field(ge=1, strict=True)], ...],
    BeforeValidator(as_list),
    AfterValidator(_without_twins),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "integer", "minimum": 1}},
            ]
        }
    ),
]


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(as_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
