"""``opnmf-pipeline schema``."""

from __future__ import annotations

import argparse
import json

from opnmf_pipeline.config import PipelineConfig

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> None:
    """Print the JSON Schema of the settings."""
    print(json.dumps(PipelineConfig.model_json_schema(), indent=1, ensure_ascii=False))
