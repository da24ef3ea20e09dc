"""Multiplicative updates: the published algorithms, in one pass over X per iteration.

References
----------
.. [1] Yuan & Oja (2005). Projective nonnegative matrix factorization for image compression and
   feature extraction. SCIA. https://doi.org/10.1007/11499145_35
.. [2] Yang & Oja (2010). Linear and nonlinear projective nonnegative matrix factorization.
   IEEE Trans. Neural Networks 21(5). https://doi.org/10.1109/TNN.2010.2041361
.. [3] Sotiras, Resnick & Davatzikos (2015). Finding imaging patterns of structural covariance
   via non-negative matrix factorization. NeuroImage 108.
   https://doi.org/10.1016/j.neuroimage.2014.11.045
"""

from collections.abc import Callable

import numpy as np

from opnmf_pipeline.decomposition.optimality import column_scale, objective, scaled
from opnmf_pipeline.decomposition.passes import (
    Array,
    Moments,
    RowBlocks,
    Rule,
    moments,
    squared_norm,
    sweep,
)
from opnmf_pipeline.decomposition.progress import Progress

FLOOR = 1e-16
"""Weights are kept above this, since a zero could never grow again."""

FAR_FROM_ONE = 256
"""A spectral norm that is so many times 1, or 1 so many times it, comes from the scale of the first
W. Left alone it would make the next change a small difference of large numbers."""

RuleMaker = Callable[[Array, Array], tuple[Array, Rule]]
"""From M and G of the current W to the M for the sweep and the update of a block of rows."""


def orthonormal_rule(M: Array, G: Array) -> tuple[Array, Rule]:
    """W ← W ∘ XM ⊘ WS with S = MᵀM, which seeks WᵀW = I [2]_, [3]_; it has no use for G."""
    M, S = scaled(M)
    return M, lambda _, W_b, XM: _multiply(W_b, XM, W_b @ S.astype(W_b.dtype))


def projective_rule(M: Array, G: Array) -> tuple[Array, Rule]:
    """W ← W ∘ (2XM ⊘ (WS + XMG))^⅓, which never raises ‖X − WWᵀX‖ [2]_."""
    scale = column_scale(M)
    G = G * scale[:, np.newaxis] / scale
    M, S = scaled(M)

    def rule(_: slice, W_b: Array, XM: Array) -> Array:
        denominator = W_b @ S.astype(W_b.dtype) + XM @ G.astype(W_b.dtype)
        return _multiply(W_b, 2 * XM, denominator, root=np.cbrt)

    return M, rule


def _multiply(
    W_b: Array, numerator: Array, denominator: Array, root: Callable[..., Array] | None = None
) -> Array:
    """Return max(W ∘ root(numerator ⊘ denominator), floor), in the memory of the numerator."""
    with np.errstate(invalid="ignore", divide="ignore"):
        numerator /= denominator
        if root is not None:
            root(numerator, out=numerator)
        numerator *= W_b
    # fmax: where a row of W is zero, 0/0 gives NaN, and this makes it the floor as well
    return np.fmax(numerator, FLOOR, out=numerator)


def iterate(
    X: RowBlocks, W: Array, make_rule: RuleMaker, progress: Progress, *, normalize: bool
) -> Array:
    """Repeat a multiplicative update until `progress` says stop.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    W : ndarray of shape (n_rows, n_components)
        The start, overwritten.
    make_rule : callable
        `orthonormal_rule` or `projective_rule`.
    progress : Progress
        Receives objective and change of every iteration.
    normalize : bool
        Whether each iteration ends with W ← W / ‖W‖₂ (spectral norm).

    Returns
    -------
    ndarray of shape (n_rows, n_components)
        The last W.
    """
    norm_X2 = squared_norm(X)
    # W is kept as the update left it, W / norm is the iterate: the orthonormal rule has the same
    # outcome for any scale of its rows, so that dividing W can wait until the end
    if saved := progress.resumed:
        W[...] = saved["W"]
        norm, state = float(saved["norm"]), Moments(saved["M"], saved["G"])
    else:
        norm, state = 1.0, moments(X, W)
    while not progress.done:
        size2 = float(np.trace(state.G))
        M, rule = make_rule(*state.of_scaled(norm))
        state = sweep(X, W, M, rule)
        old_norm, norm = norm, spectral_norm(state.G) if normalize else norm
        error = objective(norm_X2, *state.of_scaled(norm))
        progress.record(error, _change(state, size2, norm / old_norm))
        if normalize and not 1 / FAR_FROM_ONE < norm < FAR_FROM_ONE:
            state, norm = _shifted(W, state, norm)
        progress.save(W=W, norm=norm, M=state.M, G=state.G)
    W /= norm
    return W


def multiplicative(X: RowBlocks, W: Array, progress: Progress) -> Array:
    """Return the last W of the published update, see `iterate`."""
    return iterate(X, W, orthonormal_rule, progress, normalize=True)


def _shifted(W: Array, state: Moments, norm: float) -> tuple[Moments, float]:
    """Divide W in place, its moments and its norm by the power of two nearest to the norm."""
    shift = 2.0 ** -round(np.log2(norm))
    W *= W.dtype.type(shift)
    return Moments(state.M * shift, state.G * shift**2), norm * shift


def spectral_norm(G: Array) -> float:
    """Return ‖W‖₂ from G = WᵀW."""
    return float(np.sqrt(np.linalg.eigvalsh(G)[-1]))


def _change(state: Moments, size2: float, ratio: float) -> float:
    """Return ‖W/norm − W_old/old_norm‖ / ‖W_old/old_norm‖, for ratio = norm/old_norm.

    From W − ratio·W_old = (W − W_old) + (1 − ratio)·W_old: near convergence both terms are
    small, so that float32 sums are precise enough.
    """
    slack = 1 - ratio
    square = state.step2 + 2 * slack * state.along + slack**2 * size2
    return float(np.sqrt(max(square, 0.0) / size2)) / ratio if size2 > 0 else 0.0
