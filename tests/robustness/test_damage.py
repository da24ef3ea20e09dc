"""One file of the intermediate results is damaged; then the same command runs again."""

import shutil

import pytest

from opnmf_pipeline.cli import main
from tests.engines.test_engines import results
from tests.robustness.faults import DAMAGES
from tests.robustness.generated import tried


def damaged_runs(folder, arguments, n_cases):
    """Yield the file, the damage, the exit code and the output folder of each second run."""
    whole, out = folder / "whole", folder / "out"
    assert main([*arguments, "--output", str(whole), "--quiet"]) == 0
    files = [path for path in sorted((whole / "work").rglob("*")) if path.is_file()]
    cases = [(path.relative_to(whole), name) for path in files for name in DAMAGES]
    step = 1 if n_cases is None else -(-len(cases) // n_cases)
    for name, damage in cases[::step]:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(whole, out, symlinks=True)
        DAMAGES[damage](out / name)
        tried()
        yield name, damage, main([*arguments, "--output", str(out), "--quiet"]), out


@pytest.mark.parametrize(
    ("engine", "n_cases"),
    [
        pytest.param("local", 7, id="local, some"),
        pytest.param("local", None, id="local, all", marks=pytest.mark.slow),
        pytest.param("nipype", 60, id="nipype", marks=pytest.mark.slow),
        pytest.param("pydra", 60, id="pydra", marks=pytest.mark.slow),
    ],
)
def test_no_damage_reaches_the_results(tmp_path, command, capsys, engine, n_cases):
    cases = damaged_runs(tmp_path, [*command, "--engine", engine], n_cases)
    for name, damage, code, out in cases:
        told = f"{name}: {damage}: {capsys.readouterr()}"
        assert code == 0, told
        assert "Traceback" not in told, told
        assert results(out) == results(tmp_path / "whole"), told
