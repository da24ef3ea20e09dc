from pathlib import Path

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.runs.measures import tables_of


def test_the_tables_of_the_files_of_each_measure():
    measures = [
        {"name": "gm", "glob": "*.nii"},
        {"name": "ct", "features": ["lh.csv", "rh.csv"]},
        {"name": "area", "features": ["area.csv"]},
    ]
    inputs = InputsConfig.model_validate({"measures": measures})
    images = ["gm1", "gm2", "ct1", "ct2", "area1", "area2"]
    both = "lh.csv, rh.csv"
    of_area = "area.csv"
    assert tables_of(images, inputs) == {
        "ct1": both,
        "ct2": both,
        "area1": of_area,
        "area2": of_area,
    }
    assert tables_of(["a", "b"], InputsConfig(features=(Path("t.csv"),))) == {
        "a": "t.csv",
        "b": "t.csv",
    }
    assert tables_of(["a", "b"], InputsConfig(glob="*.nii")) == {}
