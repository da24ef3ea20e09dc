"""The mathematics: projective non-negative matrix factorizations of voxel-by-subject arrays."""

from opnmf_pipeline.decomposition.estimator import OPNMF, PNMF
from opnmf_pipeline.decomposition.progress import Iteration
from opnmf_pipeline.decomposition.ranks import rank_permute
from opnmf_pipeline.selection.search import RankSearch

__all__ = ["OPNMF", "PNMF", "Iteration", "RankSearch", "rank_permute"]
