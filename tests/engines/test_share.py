"""Shares of the fits, as the tasks of a batch array make them."""

import pytest

from opnmf_pipeline.cli import main
from opnmf_pipeline.runs.run import run, run_share

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

SPLIT = ["selection.n_splits=2", "selection.n_starts=2", "selection.n_permutations=1"]


def maps_and_tables(out):
    return {path.name: path.read_bytes() for path in (out / "group").iterdir()}


def test_shares_add_up_to_a_run(study, tmp_path):
    config = study.config("local", *SPLIT)
    shares = [
        {title for title in run_share(config, number, 3) if "k =" in title} for number in (1, 2, 3)
    ]
    assert sum(map(len, shares)) == len(set.union(*shares))
    fits = {title for title in set.union(*shares) if not title.startswith(("maps", "associations"))}
    assert len(fits) == 2 * (1 + 2 + 2 + 1)
    assert min(map(len, shares)) >= 2
    assert not study.out("local").joinpath("group").exists()

    computed = [title for title in run(config).computed if "k =" in title]
    assert computed == ["reliability, k = 3", "reliability, k = 2"]  # from all halves together
    run(study.config("local", *SPLIT, f"output.dir={tmp_path / 'alone'}"))
    assert maps_and_tables(study.out("local")) == maps_and_tables(tmp_path / "alone")


def test_more_shares_than_fits(study):
    config = study.config("local")
    assert "mask" in run_share(config, 5, 9)
    assert run_share(config, 5, 9) == []


def test_the_last_share_on_the_command_line(study, capsys):
    study.config("local")
    command = ["run", str(study.root / "config.yaml"), "-o", str(study.out("local"))]
    assert main([*command, "--share", "9/9"]) == 0
    assert "share 9 of 9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--share", "3"], "expected a share such as 3/20, got '3'"),
        (["--share", "5/4"], "share 5 does not exist; expected 1 to 4"),
        (["--share", "0/4"], "share 0 does not exist; expected 1 to 4"),
        (
            ["--share", "1/2", "--engine", "pydra"],
            "--share: the engine pydra already submits each fit",
        ),
    ],
)
def test_a_share_that_makes_no_sense(study, capsys, options, message):
    study.config("local")
    try:
        code = main(
            ["run", str(study.root / "config.yaml"), "-o", str(study.out("local")), *options]
        )
    except SystemExit as stop:  # argparse
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err
