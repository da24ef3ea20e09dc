import base64
import gzip
import shutil
import struct

import numpy as np
import pytest
from nilearn.surface import InMemoryMesh

from opnmf_pipeline.config import load_config
from opnmf_pipeline.images.surfaces.meshes import faces
from opnmf_pipeline.reporting.surfaces import embed, viewer
from opnmf_pipeline.runs.run import run
from tests.surfaces import parts_of_sphere, thickness, write_cifti, write_cohort


def read_mz3(text):
    """Return faces, positions and frames of a file, by the description of the format."""
    content = gzip.decompress(base64.b64decode(text))
    magic, attributes, n_faces, n_vertices, skip = struct.unpack("<HHIII", content[:16])
    assert (magic, skip) == (0x5A4D, 0)
    numbers = np.frombuffer(content[16:], "<f4")
    if attributes == 8:
        assert n_faces == 0
        return numbers.reshape(-1, n_vertices)
    assert attributes == 3
    triangles = np.frombuffer(content[16 : 16 + 12 * n_faces], "<u4").reshape(n_faces, 3)
    return triangles, numbers[3 * n_faces :].reshape(n_vertices, 3)


@pytest.fixture
def maps(tmp_path):
    """Weights on fsaverage3, and meshes that are drawn."""
    values = np.random.default_rng(0).random((2, 642)).astype(np.float32)
    values[1] *= 0.5
    meshes = [tmp_path / f"hemi-{side}_mesh.surf.gii" for side in "LR"]
    positions = np.random.default_rng(1).random((642, 3)).astype(np.float32)
    for mesh, side in zip(meshes, "LR", strict=True):
        InMemoryMesh(positions, faces(642, side)).to_gifti(mesh)
    return write_cifti(tmp_path / "a.dscalar.nii", values), values, meshes, positions


def test_surfaces_are_read_back(maps):
    path, values, meshes, positions = maps
    embedded = embed([path, path], meshes=meshes)
    assert len(embedded.images) == 2
    for text, side in zip(embedded.meshes, "LR", strict=True):
        triangles, found = read_mz3(text)
        np.testing.assert_array_equal(triangles, faces(642, side))
        np.testing.assert_array_equal(found, positions)
    for text, expected in zip(embedded.images[1].split(" "), values, strict=True):
        (found,) = read_mz3(text)
        np.testing.assert_allclose(found, 255 * expected / values.max(), atol=0.51)
        np.testing.assert_array_equal(found, np.rint(found))


def test_the_pial_surface_is_the_default(maps):
    embedded = embed([maps[0]])
    assert [len(read_mz3(text)[1]) for text in embedded.meshes] == [10242, 10242]
    assert read_mz3(embedded.images[0].split(" ")[0]).shape == (1, 10242)


def test_no_viewer_without_a_mesh_or_for_large_maps(maps, tmp_path, monkeypatch):
    other = write_cifti(tmp_path / "b.dscalar.nii", np.ones((2, 50), np.float32))
    assert embed([other]) is None
    monkeypatch.setattr(viewer, "MAX_BYTES", 1000)
    assert embed([maps[0]], meshes=maps[2]) is None


@pytest.mark.slow
def test_a_browser_draws_the_components(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium here (on Debian: apt-get install chromium)")
    write_cohort(tmp_path / "data", thickness(parts_of_sphere(642, 3), 12))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"inputs: {{bids: {tmp_path / 'data'}, filters: {{extension: .shape.gii}}}}\n"
        "decomposition: {n_components: [3]}\nreport: {figures: false}\n"
    )
    outputs = run(load_config(settings, [f"output.dir={tmp_path / 'out'}"])).outputs
    flags = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"]
    flags.append("--enable-unsafe-swiftshader")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page, problems = browser.new_page(), []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.goto(outputs.path("report").as_uri())
        page.locator("#viewer-canvas").scroll_into_view_if_needed()
        page.wait_for_selector('#viewer[data-shown="3/1"]', state="attached")
        first = page.locator("#viewer-canvas").screenshot()
        page.click("#viewer-next")
        page.wait_for_selector('#viewer[data-shown="3/2"]', state="attached")
        second = page.locator("#viewer-canvas").screenshot()
        browser.close()
    assert problems == []
    assert first != second
