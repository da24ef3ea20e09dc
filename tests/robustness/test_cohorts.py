"""Cohorts with an oddity: it is refused in the same words by every command, or it is told."""

import gzip
import html
import re

import numpy as np
import pytest

from opnmf_pipeline.cli import bids_main, main
from tests.builders import SHAPE, three_parts, write_cohort, write_image


@pytest.fixture
def commands(tmp_path, capfd, write_config, settings):
    """Return a function that runs ``check`` and ``run``, and returns both messages."""

    def call(inputs=None):
        config = str(write_config(settings | ({"inputs": inputs} if inputs else {})))
        messages = []
        for arguments in (
            ["check", config, "--deep"],
            ["run", config, "--output", str(tmp_path / "out")],
        ):
            code = main(arguments)
            out, err = capfd.readouterr()
            messages.append((code, " ".join((out + err).split())))
        return messages

    return call


def refused(commands, inputs=None):
    """Return the message with which both commands refuse a cohort."""
    found = commands(inputs)
    assert [code for code, _ in found] == [2, 2]
    check, run = (message.partition("error: ")[2] for _, message in found)
    assert check == run
    return check


def flip_checksum(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def shorten(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-4]))


def complex_values(path):
    write_image(path, (three_parts(1)[0] * 1j).astype(np.complex64))


def zeros(path):
    write_image(path, np.zeros(SHAPE, dtype=np.float32))


def negative(path):
    write_image(path, -three_parts(1)[0])


DAMAGES = [flip_checksum, shorten, complex_values, zeros, negative]


@pytest.mark.parametrize("damage", DAMAGES)
def test_check_and_run_refuse_the_same(cohort, commands, damage):
    damage(cohort.images[4])
    assert f"sub-05: {cohort.images[4]}: " in refused(commands)


def test_the_subject_is_named_if_the_path_does_not(cohort, commands, tmp_path):
    rows = ["participant_id\tpath"]
    for number, (subject, path) in enumerate(zip(cohort.subjects, cohort.images, strict=True)):
        rows.append(f"{subject}\t{path.rename(tmp_path / f'scan{number}.nii.gz')}")
    (tmp_path / "table.tsv").write_text("\n".join(rows))
    flip_checksum(tmp_path / "scan3.nii.gz")
    message = refused(commands, {"table": str(tmp_path / "table.tsv")})
    assert message.startswith(f"sub-04: {tmp_path / 'scan3.nii.gz'}: cannot be read")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize(
    ("suffix", "damages"), [(".nii.gz", DAMAGES), (".nii", [truncated, complex_values, zeros])]
)
def test_a_projection_refuses_the_same_and_writes_the_others(
    cohort, tmp_path, write_config, settings, capsys, suffix, damages
):
    for number, path in enumerate(cohort.images):
        if suffix == ".nii":
            cohort.images[number] = path.with_suffix("")
            cohort.images[number].write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    settings["inputs"] = {"filters": {"label": "GM"}}
    settings["decomposition"]["n_components"] = 2
    arguments = [str(cohort.root), str(tmp_path / "out")]
    config = str(write_config(settings))
    assert bids_main([*arguments, "group", "--config-file", config, "--quiet"]) == 0
    for damage, path in zip(damages, cohort.images, strict=False):
        damage(path)
    assert bids_main([*arguments, "participant", "--nprocs", "1", "--quiet"]) == 2
    message, n = capsys.readouterr().err, len(damages)
    for subject, path in zip(cohort.subjects[:n], cohort.images, strict=False):
        assert f"{subject}: {path}: " in message
    done = {path.parts[-3] for path in (tmp_path / "out").glob("sub-*/anat/*_loadings.tsv")}
    assert done == set(cohort.subjects[n:])


def words(page):
    """Return the text of a page, without scripts and tags."""
    text = re.sub(r"<(script|style).*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_an_image_in_other_units_and_one_in_another_space_are_told(commands, tmp_path):
    values = three_parts(12)
    values[5] *= 255
    cohort = write_cohort(tmp_path / "dataset", values)
    other = cohort.images[8]
    other.rename(other.with_name(other.name.replace("MNI152", "Talairach")))
    (check, _), (code, message) = commands()
    assert (check, code) == (0, 0)
    page = words(tmp_path / "out" / "report.html")
    for text in (message, page):
        assert re.search(r"(?i)other units.*sub-06.{1,3}2\d\d times", text)
        assert "space: MNI152 (11 images), Talairach (1 image)" in text
