"""The mathematics: projective non-negative matrix factorizations of voxel-by-subject arrays."""

from opnmf_pipeline.decomposition.estimator import OPNMF, PNMF
from opnmf_pipeline.decomposition.progress import Iteration

__all__ = ["OPNMF", "PNMF", "Iteration"]
