"""Settings of the change between two sessions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from opnmf_pipeline.config.section import Section

__all__ = ["ChangeConfig"]


class ChangeConfig(Section):
    """The change of each subject between two sessions, in place of the values of the sessions."""

    from_session: str = Field("ses-1", description="Session that is subtracted, such as `ses-1`.")
    to_session: str = Field("ses-2", description="Session that it is subtracted from.")
    per_year: str | None = Field(
        None,
        description="Column with the age of the subject in years, or the date (YYYY-MM-DD), at "
        "each session. The difference is divided by the years between the sessions. Default: the "
        "difference is not divided.",
    )
    on_missing: Literal["error", "drop"] = Field(
        "error",
        description="What to do with subjects without both sessions, or without a value of "
        "`per_year` at both: error: stop and list them; drop: leave them out and list them.",
    )

    @model_validator(mode="after")
    def _two_sessions(self) -> ChangeConfig:
        if self.from_session == self.to_session:
            raise ValueError("`from_session` and `to_session` must be different sessions")
        return self
