"""What a call hands to a stage: settings, files and lists of them."""

from pathlib import Path

import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.stages.stage import Call


@pytest.fixture
def call(tmp_path):
    """Return a function that makes a call with inputs."""
    return lambda **inputs: Call(inputs, tmp_path)


def test_a_section_has_its_settings_among_the_inputs_and_no_others(call):
    inputs = {"method": "coverage", "coverage": 0.5, "voxel_size": 4.0, "images": ["a.nii"]}
    one = call(**inputs)
    assert one.section(MaskConfig) == MaskConfig(method="coverage", coverage=0.5)
    assert one.section(MatrixConfig) == MatrixConfig(voxel_size=4.0)


def test_zero_is_a_value_and_none_is_the_default(call):
    one = call(threshold=0.0, coverage=None, tol=0, random_state=0)
    assert one.section(MaskConfig).threshold == 0
    assert one.section(MaskConfig).coverage == MaskConfig().coverage
    assert one.section(DecompositionConfig).tol == 0


def test_settings_can_be_added_to_those_among_the_inputs(call):
    options = call(tol=0.5).section(DecompositionConfig, n_components=7)
    assert options == DecompositionConfig(n_components=7, tol=0.5)


def test_files(call):
    one = call(mask_file="mask.nii.gz", halves_files=["b", Path("a")], planted=None)
    assert one.path("mask_file") == one.optional_path("mask_file") == Path("mask.nii.gz")
    assert one.paths("halves_files") == [Path("b"), Path("a")]
    assert one.paths("permuted_files") == []
    assert one.optional_path("planted") is None
    assert one["permuted_files"] is None
    with pytest.raises(KeyError):
        one.path("matrix_dir")
