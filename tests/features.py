"""Tables of regions with planted parts, from one seeded generator."""

import csv

import numpy as np

REGIONS = [f"{side}_region{number}" for side in ("lh", "rh") for number in range(12)]
PARTS = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3] * 2)
"""Part of each region; both hemispheres have the same parts."""


def planted(n_subjects=14, noise=0.03, seed=0):
    """Return values of the regions, (n_subjects, n_regions); parts vary independently."""
    rng = np.random.default_rng(seed)
    of_parts = rng.uniform(1.5, 3.5, (n_subjects, 3))
    return of_parts[:, PARTS - 1] + noise * rng.standard_normal((n_subjects, len(PARTS)))


def subjects(n):
    return [f"sub-{number:02d}" for number in range(1, n + 1)]


def write_csv(path, rows, delimiter=","):
    with path.open("w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return path


def rows_of(values, names=REGIONS, corner="participant_id"):
    """Return the lines of a table with one row per subject."""
    people = subjects(len(values))
    return [[corner, *names]] + [
        [name, *map(str, row)] for name, row in zip(people, values.tolist(), strict=True)
    ]
