"""Patterns of structural covariance by orthonormal projective NMF."""

__version__ = "0.1.0"
