"""Settings of the comparison of numbers of components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from opnmf_pipeline.config.section import (
    LARGEST_SEED,
    MOST_FITS,
    ComponentCount,
    ComponentCounts,
    Names,
    Section,
)
from opnmf_pipeline.selection.rules import RULES

__all__ = ["CHOICE_SETTINGS", "NULL_SETTINGS", "SPLIT_SETTINGS", "SelectionConfig"]

SPLIT_SETTINGS = {"n_splits", "stratify", "n_bins", "groups", "leave_out", "random_state"}
"""Settings of the section `selection` that define the split halves."""
NULL_SETTINGS = {"n_null"}
"""Settings of the section `selection` that define the agreement by chance."""
CHOICE_SETTINGS = {"rule"}
"""Settings of the section `selection` that choose the number of components."""

if TYPE_CHECKING:  # type checkers take no computed choices
    RuleName = str
else:
    RuleName = Literal[tuple(RULES)]

N_STARTS = 3
"""Number of random starts that are compared if the cohort is split."""


def _starts_of_a_study(values: dict[str, Any]) -> int:
    is_split = values.get("n_splits") or values.get("leave_out") is not None
    return N_STARTS if is_split else 0


class SelectionConfig(Section):
    """How numbers of components are compared, and how one of them is chosen."""

    candidates: ComponentCounts = Field(
        (),
        description="Numbers of components to compare. Component maps are written only for the "
        "numbers in decomposition.n_components. Default: decomposition.n_components.",
    )
    n_splits: int = Field(
        0,
        ge=0,
        le=MOST_FITS,
        description="Number of random split halves of the cohort. Each split needs two fits for "
        "each k. Both fits have a random start of their own.",
    )
    stratify: Names = Field(
        (),
        description="Columns of the participants table to balance across halves, such as "
        "`[age, sex, site]`.",
    )
    n_bins: int = Field(
        4,
        ge=2,
        le=1000,
        description="Number of bins of equal size for each numeric column of `stratify`.",
    )
    groups: str | None = Field(
        None,
        description="Column of group labels, such as family. Subjects of one group are kept in the "
        "same half.",
    )
    leave_out: str | None = Field(
        None,
        description="Column of group labels, such as site. Each split compares one group with all "
        "other subjects (leave one group out, once per value). Replaces random halves.",
    )
    shared_start: bool = Field(
        False,
        description="Also fit both parts of each split from the same start, decomposition.init, "
        "and write this agreement next to that of independent starts. This doubles the number of "
        "fits of the splits. No rule uses it, because a shared start makes both parts more alike.",
    )
    n_starts: int = Field(
        default_factory=_starts_of_a_study,
        ge=0,
        le=MOST_FITS,
        description="Number of random starts on all subjects (2 or more) whose fits are compared: "
        "they show how much the components of each k depend on the start. Each needs one fit for "
        f"each k, about as long as the two fits of a split. 0: off. Default: {N_STARTS} if the "
        "cohort is split, otherwise 0.",
    )
    n_bootstraps: int = Field(
        0,
        ge=0,
        le=MOST_FITS,
        description="Number of bootstrap samples of the subjects (2 or more) for each k with maps. "
        "The share of their fits that assign each voxel to its component, and the intervals of the "
        "sizes of parts, then come from these fits, not from those of the split halves. Each needs "
        "one fit. Subjects of one group are drawn together. 0: off.",
    )
    n_null: int = Field(
        5,
        ge=0,
        le=MOST_FITS,
        description="Number of pairs of random compact label maps (2 or more) for each agreement "
        "of two fits. They have the part sizes and the weights of the fits, and their agreement is "
        "what is expected by chance. For tables, features are in random order. No fit is needed: "
        "five pairs take about two seconds for 75,000 voxels and k = 20. 0: off.",
    )
    n_permutations: int = Field(
        0,
        ge=0,
        le=MOST_FITS,
        description="Number of null data sets (voxels shuffled within each subject). Each needs "
        "one fit for each k.",
    )
    rule: RuleName | None = Field(
        None,
        description="Rule that chooses the number of components. "
        + "; ".join(f"{name}: {rule.summary}" for name, rule in RULES.items())
        + ". Default: reproducibility-peak if there are two or more splits, otherwise "
        "null-crossing if there are null data sets.",
    )
    range: tuple[ComponentCount, ComponentCount] | None = Field(
        None,
        description="Smallest and largest number of components that the rule may choose. "
        "Default: no limit.",
    )
    random_state: int = Field(
        0, ge=0, le=LARGEST_SEED, description="Seed of the split halves and of the shuffling."
    )

    @property
    def rule_used(self) -> str | None:
        """The rule, or the default rule; None without splits and null data sets."""
        default = "null-crossing" if self.n_permutations else None
        if self.n_splits > 1 or self.leave_out is not None:
            default = "reproducibility-peak"
        return self.rule or default

    @property
    def permutation_seeds(self) -> list[int]:
        """Seed of each null data set. A larger number keeps the seeds of a smaller number."""
        return [self.random_state + number for number in range(self.n_permutations)]

    def of_splits(self) -> dict[str, Any]:
        """Return the settings that define the split halves."""
        return self.model_dump(mode="json", include=SPLIT_SETTINGS)

    def of_null(self) -> dict[str, Any]:
        """Return the settings that define the agreement by chance."""
        return self.model_dump(mode="json", include=NULL_SETTINGS)

    def of_choice(self) -> dict[str, Any]:
        """Return the settings that choose the number of components, with the rule that is used."""
        chosen = self.model_dump(mode="json", include=CHOICE_SETTINGS) | {"rule": self.rule_used}
        return {**chosen, "rank_range": self.range}

    @property
    def has_splits(self) -> bool:
        """Whether the cohort is split: into random halves, or by leaving groups out."""
        return self.n_splits > 0 or self.leave_out is not None

    @property
    def is_study(self) -> bool:
        """Whether numbers of components are compared by more than the fits with maps."""
        return self.has_splits or bool(self.candidates or self.n_starts or self.n_permutations)

    @field_validator("n_null")
    @classmethod
    def _null_that_varies(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one pair has no standard deviation; set 2 or more, or 0")
        return value

    @field_validator("n_bootstraps")
    @classmethod
    def _samples_that_vary(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one sample has no interval; set 2 or more, or 0")
        return value

    @field_validator("n_starts")
    @classmethod
    def _starts_to_compare(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one start cannot be compared; set 2 or more, or 0")
        return value

    @model_validator(mode="after")
    def _one_way_to_split(self) -> SelectionConfig:
        if self.leave_out is not None and (self.n_splits or self.stratify or self.groups):
            raise ValueError(
                "`leave_out` replaces random halves; remove `leave_out`, or remove n_splits, "
                "stratify and groups"
            )
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError(f"range: {self.range[0]} is larger than {self.range[1]}")
        return self

    @model_validator(mode="after")
    def _data_for_the_rule(self) -> SelectionConfig:
        if self.rule is None:
            return self
        rule = RULES[self.rule]
        if rule.compares_shuffled and not self.n_permutations:
            raise ValueError(f"rule: {self.rule} needs n_permutations; set it to 1 or more")
        if rule.compares_splits and self.n_splits < 2 and not self.leave_out:
            raise ValueError(f"rule: {self.rule} needs splits; set n_splits to 2 or more")
        return self
