import numpy as np
import pandas as pd

from opnmf_pipeline.reporting.tables import measures


def test_the_table_is_turned_round_and_means_have_their_spread():
    metrics = pd.DataFrame(
        {
            "n_components": [2, 30],
            "label_ari": [0.51234567, 0.25],
            "label_ari_sd": [0.05, np.nan],
            "n_iter": [12345, 7],
            "converged": [True, False],
        }
    )
    found = measures(metrics, {"n_iter": "Iterations of the fit"})
    assert [(one.name, one.description) for one in found] == [
        ("label ari", ""),
        ("iterations", "Iterations of the fit"),
        ("converged", ""),
    ]
    assert [one.cells for one in found] == [
        ["0.5123 ± 0.05", "0.25"],
        ["12\u202f345", "7"],
        ["yes", "no"],
    ]
