"""ComBat of this package, of the published program and of combatlearn, on planted batches.

``python -m benchmarks.combat`` prints a table. It needs two packages that the project does not
depend on: ``pip install --no-deps --target FOLDER neuroCombat==0.2.12 combatlearn==2.3.0``. Run it
with ``PYTHONPATH=FOLDER``.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.decomposition.passes import Array

SIZES = [(30, 30), (20, 20, 20), (40, 5, 4), (60, 3)]
"""Numbers of subjects of the batches."""
N_VOXELS = 2000
SEEDS = range(5)
SHIFT, SPREAD = 0.5, 0.5
"""Mean and standard deviation over voxels of the shift of a batch, in units of the noise."""
SCALE = 0.2
"""Standard deviation over voxels of the logarithm of the scale of a batch."""


def cohort(sizes: Sequence[int], seed: int) -> tuple[Array, pd.DataFrame, Array]:
    """Return values (n_voxels, n_subjects), the table, and the shifts (n_voxels, n_batches)."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    n = len(codes)
    table = pd.DataFrame(
        {
            "site": np.array(["a", "b", "c"])[codes],
            "age": rng.uniform(20, 80, n),
            "sex": rng.choice(["F", "M"], n),
        },
        index=[f"sub-{number}" for number in range(n)],
    )
    shifts = SHIFT * np.arange(len(sizes)) + SPREAD * rng.normal(size=(N_VOXELS, len(sizes)))
    scales = np.exp(SCALE * rng.normal(size=(N_VOXELS, len(sizes))))
    slopes = rng.normal(-0.02, 0.01, (N_VOXELS, 1))
    clean = 10 + slopes * table["age"].to_numpy() + 0.3 * (table["sex"] == "M").to_numpy()
    noise = rng.normal(size=(N_VOXELS, n))
    return clean + shifts[:, codes] + scales[:, codes] * noise, table, shifts


def own(X: Array, table: pd.DataFrame) -> Array:
    """Return values that this package harmonized."""
    options = MatrixConfig(harmonize={"batch": "site", "covariates": "age + sex"})
    out: Array = np.empty(X.shape)
    Adjustment.learn(X, table, options).apply(X, table, out)  # type: ignore[arg-type]
    return out


def published(X: Array, table: pd.DataFrame) -> Array:
    """Return values that neuroCombat harmonized."""
    from neuroCombat import neuroCombat  # type: ignore[import-not-found]

    found = neuroCombat(X, table, "site", categorical_cols=["sex"], continuous_cols=["age"])
    return np.asarray(found["data"])


def combatlearn(X: Array, table: pd.DataFrame) -> Array:
    """Return values that combatlearn harmonized."""
    from combatlearn import ComBat  # type: ignore[import-not-found]

    values = pd.DataFrame(X.T, index=table.index)
    model = ComBat(
        table["site"],
        discrete_covariates=table[["sex"]],
        continuous_covariates=table[["age"]],
        method="fortin",
    )
    return np.asarray(model.fit(values).transform(values)).T


def removed(X: Array, harmonized: Array, table: pd.DataFrame) -> Array:
    """Return the removed difference of the last batch from the first one, for each voxel."""
    sites = table["site"].to_numpy()
    change = X - harmonized
    last, first = change[:, sites == sites[-1]], change[:, sites == sites[0]]
    return np.asarray(last.mean(axis=1) - first.mean(axis=1))


def main() -> None:
    """Print the table."""
    print(
        "| subjects | this package, largest | combatlearn, root mean square | "
        "error: published, this package | error: combatlearn |"
    )
    print("| --- | --- | --- | --- | --- |")
    for sizes in SIZES:
        rows = []
        for seed in SEEDS:
            X, table, shifts = cohort(sizes, seed)
            ours, theirs, other = (run(X, table) for run in (own, published, combatlearn))
            truth = shifts[:, -1] - shifts[:, 0]
            errors = [
                float(np.sqrt(np.mean(np.square(removed(X, found, table) - truth))))
                for found in (theirs, ours, other)
            ]
            difference = np.sqrt(np.mean(np.square(other - theirs))) / X.std()
            rows.append([np.abs(ours - theirs).max() / X.std(), difference, *errors])
        largest, square, theirs_error, ours_error, other_error = np.mean(rows, axis=0)
        largest = np.max([row[0] for row in rows])
        print(
            f"| {', '.join(map(str, sizes))} | {largest:.0e} | {square:.0%} | "
            f"{theirs_error:.2f}, {ours_error:.2f} | {other_error:.2f} |"
        )


if __name__ == "__main__":
    main()
