"""Settings of the adjustment of the matrix for covariates and sites."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from opnmf_pipeline.config.section import TEXT, Section, one_or_several

__all__ = [
    "ADJUSTMENT_SETTINGS",
    "GLOBAL",
    "AdjustmentConfig",
    "HarmonizeConfig",
    "MeasuresConfig",
    "ScaleConfig",
]

GLOBAL = "global"
"""Name of the column of the means of the images."""
COMMA_MSG = (
    "the term {term!r} is not complete, because a comma ends an item of a list in brackets; write "
    "one formula, such as bs(age, df=4) + sex"
)


def _joined(terms: Any) -> Any:
    """Return a list of terms as one formula."""
    if not isinstance(terms, list | tuple) or not all(isinstance(term, str) for term in terms):
        return terms
    if broken := [term for term in terms if term.count("(") != term.count(")")]:
        raise ValueError(COMMA_MSG.format(term=broken[0]))
    return " + ".join(terms)


Formula = Annotated[str, BeforeValidator(_joined), one_or_several({"type": TEXT})]
"""A formula in Wilkinson notation, or the list of its terms."""


class ScaleConfig(Section):
    """Scaling of each subject's values by the size of the head or the amount of tissue."""

    by: str = Field(
        description="Column of the participants table, such as `tiv`, or `global`: the mean of the "
        "subject's values in the mask."
    )
    method: Literal["proportional", "regression"] = Field(
        "proportional",
        description="proportional: divide the values by the column and multiply them by its mean; "
        "regression: remove the linear effect of the column, together with `covariates`.",
    )


class HarmonizeConfig(Section):
    """Harmonization of batches, such as sites or scanners."""

    batch: str = Field(description="Column of the batches, such as `site`.")
    covariates: Formula | None = Field(
        None,
        description="Formula of the effects that differences between batches must not absorb, such "
        "as `age + sex`, or a list of its terms. `matrix.keep` is added. Default: "
        "`matrix.covariates`.",
    )
    method: Literal["combat"] = Field(
        "combat", description="combat: location and scale of each voxel in each batch (ComBat)."
    )


class MeasuresConfig(Section):
    """How the measures of `inputs.measures` form one matrix.

    The smallest value of the scaled matrix is subtracted from all its values.
    """

    stack: Literal["subjects", "voxels"] = Field(
        "subjects",
        description="subjects: one column per subject and measure, so that all measures share the "
        "components, and each subject has loadings for each measure; voxels: one column per "
        "subject, with the voxels of all measures below each other, so that each component has a "
        "map for each measure, and each subject has one loading.",
    )
    scale: Literal["zscore", "zscore_voxel", "range", "none"] = Field(
        "zscore",
        description="zscore: subtract the mean of each measure over voxels and subjects, and "
        "divide by its standard deviation; zscore_voxel: the same for each voxel, over subjects; "
        "range: map the smallest and the largest value of each measure to 0 and 1; none: leave the "
        "values in their units.",
    )


class AdjustmentConfig(Section):
    """Adjustment of the matrix, in this order: scale, harmonize, covariates, measures.

    Every fit learns it from its own subjects: a fit of a split half knows only this half.
    """

    scale: ScaleConfig | None = Field(
        None, description="Scale each subject's values by the size of the head. Default: do not."
    )
    harmonize: HarmonizeConfig | None = Field(
        None, description="Harmonize batches, such as sites or scanners. Default: do not."
    )
    covariates: Formula | None = Field(
        None,
        description="Formula of the covariates whose effects are removed from every voxel by least "
        "squares, such as `bs(age, df=4) + sex + tiv`, or a list of its terms. The mean of the "
        "voxel stays. It may contain columns of the participants table, `+ - * : /`, and the "
        "functions bs, cr, poly, C, center, scale, log and I.",
    )
    keep: Formula | None = Field(
        None,
        description="Formula of effects of interest, such as `diagnosis`, or a list of its terms. "
        "They are in the models of `covariates` and `harmonize`, and stay in the values.",
    )

    measures: MeasuresConfig | None = Field(
        None,
        description="How several measures form one matrix. Default: with `inputs.measures`, the "
        "defaults of its settings.",
    )

    @model_validator(mode="after")
    def _something_to_adjust(self) -> AdjustmentConfig:
        if self.keep is not None and not self.has_models:
            raise ValueError("`keep` requires `covariates`, `harmonize` or `scale`")
        return self

    @model_validator(mode="after")
    def _models_of_one_measure(self) -> AdjustmentConfig:
        if self.measures is not None and self.has_models:
            raise ValueError(
                "`measures` cannot be combined with `scale`, `harmonize` or `covariates`; adjust "
                "the loadings in the statistical model instead"
            )
        return self

    @property
    def has_models(self) -> bool:
        """Whether effects of columns of the participants table are removed."""
        return any((self.scale, self.harmonize, self.covariates))

    @property
    def adjusts(self) -> bool:
        """Whether fits learn from their subjects how to adjust the matrix."""
        return self.has_models or self.measures is not None

    def of_adjustment(self) -> dict[str, Any]:
        """Return the settings of the adjustment that have a value, as plain values; or none."""
        return self.model_dump(mode="json", include=set(ADJUSTMENT_SETTINGS), exclude_none=True)


ADJUSTMENT_SETTINGS = tuple(AdjustmentConfig.model_fields)
"""Settings of the section `matrix` that adjust it; stages before the adjustment do not have them.
"""
