"""Settings of a run: one YAML file, one typed section per stage."""

from opnmf_pipeline.config.adjustment import (
    ADJUSTMENT_SETTINGS,
    GLOBAL,
    AdjustmentConfig,
    HarmonizeConfig,
    MeasuresConfig,
    ScaleConfig,
)
from opnmf_pipeline.config.change import ChangeConfig
from opnmf_pipeline.config.execution import DaskConfig, ExecutionConfig
from opnmf_pipeline.config.inputs import (
    InputsConfig,
    MasksConfig,
    MeasureConfig,
    SimulationConfig,
)
from opnmf_pipeline.config.loading import Override, load_config, problems_of
from opnmf_pipeline.config.parsing import parse_yaml, read_yaml, resolved
from opnmf_pipeline.config.section import Section
from opnmf_pipeline.config.selection import (
    CHOICE_SETTINGS,
    NULL_SETTINGS,
    SPLIT_SETTINGS,
    SelectionConfig,
)
from opnmf_pipeline.config.settings import (
    AFTER_IMAGES,
    DecompositionConfig,
    MaskConfig,
    MatrixConfig,
    OutputConfig,
    PipelineConfig,
    ReportConfig,
)

__all__ = [
    "ADJUSTMENT_SETTINGS",
    "AFTER_IMAGES",
    "CHOICE_SETTINGS",
    "GLOBAL",
    "NULL_SETTINGS",
    "SPLIT_SETTINGS",
    "AdjustmentConfig",
    "ChangeConfig",
    "DaskConfig",
    "DecompositionConfig",
    "ExecutionConfig",
    "HarmonizeConfig",
    "InputsConfig",
    "MaskConfig",
    "MasksConfig",
    "MatrixConfig",
    "MeasureConfig",
    "MeasuresConfig",
    "OutputConfig",
    "Override",
    "PipelineConfig",
    "ReportConfig",
    "ScaleConfig",
    "Section",
    "SelectionConfig",
    "SimulationConfig",
    "load_config",
    "parse_yaml",
    "problems_of",
    "read_yaml",
    "resolved",
]
