"""Patterns of structural covariance by orthonormal projective NMF."""

import importlib
import importlib.metadata
from typing import Any

__version__ = importlib.metadata.version("opnmf-pipeline")

__all__ = [
    "OPNMF",
    "PNMF",
    "Model",
    "PipelineConfig",
    "StructuralCovariance",
    "__version__",
    "configure_logging",
    "load_config",
    "rank_permute",
    "run",
]

# Imported on first use, so that the command line answers at once.
_PUBLIC = {
    "Model": "opnmf_pipeline.stages.model",
    "OPNMF": "opnmf_pipeline.decomposition",
    "PNMF": "opnmf_pipeline.decomposition",
    "PipelineConfig": "opnmf_pipeline.config",
    "StructuralCovariance": "opnmf_pipeline.estimators",
    "configure_logging": "opnmf_pipeline.logs",
    "load_config": "opnmf_pipeline.config",
    "rank_permute": "opnmf_pipeline.decomposition",
    "run": "opnmf_pipeline.runs.run",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
