"""Adjustments of the matrix for covariates and sites: learned on some subjects, applied to others.

Arrays and tables come in, arrays come out. An :class:`~opnmf_pipeline.adjustment.steps.Adjustment`
is learned on the subjects of a fit, and knows nothing about any other subject.
"""
