import numpy as np

from opnmf_pipeline.images.maps import component_names, winner_takes_all

W = np.array([[0.1, 2.0], [0.5, 0.4], [0.0, 0.0], [0.3, 0.3]], dtype=np.float32)


def test_winner_takes_all():
    labels = winner_takes_all(W)
    assert labels.dtype == np.int16
    assert labels.tolist() == [2, 1, 0, 1]


def test_component_names_sort_as_text():
    names = component_names(120)
    assert names == sorted(names)
    assert len(set(names)) == 120
