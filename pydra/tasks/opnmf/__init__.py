"""OPNMF as Pydra tasks, under the name space in which Pydra's task packages live."""

from opnmf_pipeline.engines.pydra import OpnmfWorkflow
from opnmf_pipeline.nodes.pydra import (
    AssessCohort,
    BuildMatrix,
    CollectCohort,
    Decompose,
    DrawFigures,
    FitHalf,
    MakeMask,
    MakeReport,
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
    "FitHalf",
    "MakeMask",
    "MakeReport",
    "OpnmfWorkflow",
    "ProjectSubjects",
    "SelectRank",
    "WriteMaps",
]
