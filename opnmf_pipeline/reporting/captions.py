"""Alternative texts and captions for the pictures that stages have drawn."""

from __future__ import annotations

from opnmf_pipeline.reporting.facts import FitFacts, SelectionFacts
from opnmf_pipeline.reporting.figure import Figure

__all__ = ["map_figures", "selection_figures"]


def selection_figures(selection: SelectionFacts) -> list[Figure]:
    """Return the pictures of the comparison of numbers of components, if they were drawn."""
    ks = selection.ks
    over = f"over {len(ks)} numbers of components, from {min(ks)} to {max(ks)}"
    figures = [
        (
            selection.errors,
            f"Curves of the reconstruction error and of the gain per component {over}",
            "Reconstruction error of the fits, R² about the mean in and out of sample, and "
            "how much each additional component reduces the error. Shuffled data and subjects that "
            "were not fitted are shown if the run computed them.",
        ),
        (
            selection.reproducibility,
            f"Curves of the agreement between the two parts of each split of the cohort {over}",
            "Agreement between the fits of the two parts of each split of the cohort, each from a "
            "random start of its own. Solid lines show means, bands show one standard deviation, "
            "dots show single splits. Dashed lines show the median, the agreement of two random "
            "starts on all subjects, and the stability coefficient by chance. Grey lines show the "
            "other agreements by chance: those of random parts with the same sizes. Their "
            "bands show one standard deviation over random parts.",
        ),
        (
            selection.hierarchy,
            f"Diagram of how parts split {over}",
            "How much the parts at each k share with the parts at the next larger k. Numbers and "
            "colours are those of the components in the label map of each k.",
        ),
    ]
    return [Figure(path, alt, caption) for path, alt, caption in figures if path]


def map_figures(fit: FitFacts) -> list[Figure]:
    """Return the pictures of the components and of their parts, if they were drawn."""
    figures = [
        (
            fit.montage,
            f"{fit.k} components, each {fit.views}",
            f"Every component, {fit.views}.",
        ),
        (
            fit.label_map,
            f"Winner-takes-all map in the colours of {fit.k} components",
            "Winner-takes-all map: the colour shows the component with the largest weight. The "
            "legend gives the numbers of the components.",
        ),
    ]
    return [Figure(path, alt, caption) for path, alt, caption in figures if path]
