"""OPNMF as Pydra tasks, in the namespace of Pydra's task packages."""

from opnmf_pipeline.engines.pydra import OpnmfWorkflow
from opnmf_pipeline.nodes.pydra import (
    AssessCohort,
    BuildMatrix,
    CollectCohort,
    Decompose,
    DrawFigures,
    FitHalves,
    FitPermuted,
    MakeMask,
    MakeReport,
    MakeSplits,
    MeasureAssociations,
    ProjectSubjects,
    SelectRank,
    WriteMaps,
)

__all__ = [
    "AssessCohort",
    "BuildMatrix",
    "CollectCohort",
    "Decompose",
    "DrawFigures",
    "FitHalves",
    "FitPermuted",
    "MakeMask",
    "MakeReport",
    "MakeSplits",
    "MeasureAssociations",
    "OpnmfWorkflow",
    "ProjectSubjects",
    "SelectRank",
    "WriteMaps",
]
