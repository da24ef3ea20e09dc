"""OPNMF as Pydra tasks, in the namespace of Pydra's task packages."""

from opnmf_pipeline.engines.pydra import OpnmfWorkflow
from opnmf_pipeline.nodes.pydra import (
    AssessCohort,
    BuildMatrix,
    CollectCohort,
    Decompose,
    DrawFigures,
    FitBootstrap,
    FitHalves,
    FitPermuted,
    MakeMask,
    MakeReport,
    MakeSplits,
    MeasureAssociations,
    MeasureReliability,
    ProjectSubjects,
    SelectRank,
    SplitTable,
    WriteMaps,
)

__all__ = [
    "AssessCohort",
    "BuildMatrix",
    "CollectCohort",
    "Decompose",
    "DrawFigures",
    "FitBootstrap",
    "FitHalves",
    "FitPermuted",
    "MakeMask",
    "MakeReport",
    "MakeSplits",
    "MeasureAssociations",
    "MeasureReliability",
    "OpnmfWorkflow",
    "ProjectSubjects",
    "SelectRank",
    "SplitTable",
    "WriteMaps",
]
