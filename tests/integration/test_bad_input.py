"""Everything a user can get wrong: exit code 2, a message that helps, nothing half-written."""

import gzip

import numpy as np
import pytest

from opnmf_pipeline.cli import main
from tests.builders import AFFINE, SHAPE, write_image


@pytest.fixture
def run(tmp_path, write_config, settings, capfd):
    """Run the command on the tiny cohort; returns the message of its failure."""

    def run(*overrides, output=tmp_path / "out", **sections):
        changed = {key: settings.get(key, {}) | value for key, value in sections.items()}
        config = write_config(settings | changed)
        arguments = ["run", str(config), "--output", str(output), "--quiet"]
        for override in overrides:
            arguments += ["--set", override]
        code = main(arguments)
        message = capfd.readouterr().err
        assert code == 2, message
        assert message.startswith("opnmf-pipeline: error: ")
        assert "Traceback" not in message
        assert_nothing_half_written(tmp_path / "out")
        return message

    return run


def assert_nothing_half_written(folder):
    assert not (folder / "group").exists()
    assert not (folder / "participants.tsv").exists()
    assert [path for path in folder.rglob("*") if "partial" in path.name] == []


def test_missing_file(run, cohort):
    cohort.images[2].unlink()
    message = run()
    assert "1 of 6 subjects have no image: sub-03" in message
    assert "inputs.on_missing" in message


def test_a_wrong_cohort_leaves_no_trace(run, cohort, tmp_path):
    cohort.images[2].unlink()
    run()
    assert not (tmp_path / "out").exists()


def test_truncated_gzip(run, cohort):
    cohort.images[2].write_bytes(cohort.images[2].read_bytes()[:-30])
    assert f"{cohort.images[2]}: cannot be read as an image" in run()


def test_truncated_header(run, cohort):
    cohort.images[2].write_bytes(cohort.images[2].read_bytes()[:40])
    assert f"{cohort.images[2]}: cannot be read as an image" in run()


@pytest.mark.parametrize(
    "content", [b"", b"no image", gzip.compress(b"no image" * 100)], ids=["empty", "text", "gzip"]
)
def test_not_a_nifti(run, cohort, content):
    cohort.images[0].write_bytes(content)
    assert f"{cohort.images[0]}: cannot be read as an image" in run()


def test_all_damaged_images_are_named_with_their_subjects(run, cohort):
    for number in (0, 3):
        cohort.images[number].write_bytes(cohort.images[number].read_bytes()[:-30])
    message = run()
    assert "2 of 6 images cannot be used:\n" in message
    assert f"\n  sub-04: {cohort.images[3]}: cannot be read as an image" in message


def test_four_dimensions(run, cohort):
    write_image(cohort.images[1], np.ones((*SHAPE, 2), dtype=np.float32))
    message = run()
    assert f"{cohort.images[1]}: has shape (5, 4, 3, 2), expected one 3D volume" in message


def test_mixed_grids(run, cohort):
    shifted = AFFINE.copy()
    shifted[2, 3] += 1
    write_image(cohort.images[4], cohort.values[4], shifted)
    message = run()
    assert f"sub-05: {cohort.images[4]}: origin at (6, -9, 13) mm, not (6, -9, 12) mm\n" in message
    assert "matrix.resample: to-first" in message


def test_nan(run, cohort):
    cohort.values[3][2, 2, 2] = np.nan
    cohort.damage(3, cohort.values[3])
    message = run()
    assert f"sub-04: {cohort.images[3]}: 1 NaN or infinite of 59 voxels" in message
    assert "matrix.nan: zero" in message


def test_negative_values(run, cohort):
    cohort.values[3][2, 2, 2] = -0.01
    cohort.damage(3, cohort.values[3])
    message = run()
    assert f"sub-04: {cohort.images[3]}: 1 negative of 59 voxels" in message
    assert "matrix.negative: clip" in message


def test_empty_mask(run):
    message = run("mask.threshold=5")
    assert "the mask is empty: the mean over 6 subjects is at most" in message
    assert "lower mask.threshold (now 5)" in message


def test_more_components_than_subjects(run):
    message = run("decomposition.n_components=[3, 7]")
    assert "decomposition.n_components: 7 is more than 6, the number of subjects" in message


def test_more_components_than_voxels(run, cohort, tmp_path):
    few = np.zeros(SHAPE, dtype=np.uint8)
    few[1, 1, 1:] = 1
    mask = write_image(tmp_path / "few.nii.gz", few)
    message = run("mask.method=image", f"mask.image={mask}", "decomposition.n_components=3")
    assert "k = 3: the mask has only 2 elements (voxels); lower decomposition.n_comp" in message


def test_more_components_than_half_the_subjects(run):
    message = run("selection.n_splits=1", "decomposition.n_components=[2, 4]")
    assert "decomposition.n_components: 4 is more than 3," in message


def test_unknown_key(run):
    message = run(mask={"treshold": 0.2})
    assert "config.yaml: mask.treshold: unknown key (did you mean 'threshold'?)" in message


def test_unknown_filter(run, cohort):
    message = run(inputs={"filters": {"lable": "GM"}})
    assert "inputs.filters: unknown entity 'lable' (did you mean 'label'?)" in message


def test_missing_mask_image(run, tmp_path):
    message = run("mask.method=image", f"mask.image={tmp_path / 'nowhere.nii.gz'}")
    assert f"{tmp_path / 'nowhere.nii.gz'}: no such file" in message


def test_no_output_folder(write_config, settings, capfd):
    assert main(["run", str(write_config(settings))]) == 2
    assert "output.dir: is not set; name the output folder with --output" in capfd.readouterr().err


@pytest.mark.parametrize("inside", ["", "out", "deep/out"])
def test_output_folder_not_writable(run, tmp_path, inside):
    file = tmp_path / "file"
    file.touch()
    message = run(output=file / inside)
    assert f"output.dir: {file / inside}: cannot be written (Not a directory)" in message
    assert "--output" in message


def test_output_folder_that_is_no_run(run, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    message = run("output.overwrite=true", output=tmp_path / "thesis")
    assert f"output.dir: {tmp_path / 'thesis'} is not empty and contains no run" in message
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.txt"]


def test_output_folder_of_another_run(tmp_path, write_config, settings, capfd):
    config, out = write_config(settings), tmp_path / "out"
    command = ["run", str(config), "--output", str(out), "--quiet"]
    assert main(command) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main([*command, "--set", "mask.threshold=0.15"]) == 2
    message = capfd.readouterr().err
    assert (
        f"output.dir: {out} contains the results of a different run (mask.threshold: 0.2, now 0.15)"
        in message
    )
    assert "--overwrite" in message
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_signed_maps_with_nan(test_data, run):
    folder = test_data / "wager2008-signed-nan"
    inputs = {
        "bids": None,
        "filters": {},
        "glob": str(folder / "*.img"),
        "pattern": r"con_(?P<participant_id>\d+)",
    }
    message = run("decomposition.n_components=2", "mask.threshold=-1", inputs=inputs)
    assert "6 subject(s) have values in the mask" in message
    assert f"sub-00810001: {folder / 'con_00810001.img'}: " in message
    assert "NaN or infinite and" in message
    assert "matrix.nan: zero" in message
    assert "matrix.negative: clip (to 0) or shift" in message
