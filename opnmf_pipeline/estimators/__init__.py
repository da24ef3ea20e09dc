"""Estimators from images to loadings, which fit into the pipelines of scikit-learn."""

from opnmf_pipeline.estimators.structural import StructuralCovariance

__all__ = ["StructuralCovariance"]
