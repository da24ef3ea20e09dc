import logging
import warnings

import pytest

from opnmf_pipeline.logs import configure_logging, library_versions, log_file

logger = logging.getLogger("opnmf_pipeline")


@pytest.fixture(autouse=True)
def restored():
    before, level = list(logger.handlers), logger.level
    yield
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


def test_versions():
    versions = library_versions()
    assert list(versions)[:2] == ["python", "opnmf-pipeline"]
    assert {"numpy", "scipy", "numba", "nibabel", "nilearn", "nipype", "pydra"} <= set(versions)


def test_default_is_warnings_on_the_standard_output(capsys):
    configure_logging()
    logger.info("quiet")
    logging.getLogger("opnmf_pipeline.images").warning("loud")
    out = capsys.readouterr().out
    assert "versions: python" in out.splitlines()[0]
    assert "opnmf_pipeline.images - WARNING - loud" in out
    assert "quiet" not in out


@pytest.mark.parametrize("level", ["DEBUG", logging.DEBUG])
def test_level_file_and_format(tmp_path, level):
    path = tmp_path / "log.txt"
    configure_logging(level, path, output_format="%(levelname)s|%(message)s")
    logger.debug("detail")
    head, line = path.read_text().splitlines()
    assert head.startswith("INFO|versions: python")
    assert f"opnmf-pipeline {library_versions()['opnmf-pipeline']}" in head
    assert line == "DEBUG|detail"


def test_an_existing_file(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("old\n")
    with pytest.warns(UserWarning, match="exists, so messages are appended to it") as record:
        configure_logging("INFO", path)
    assert record[0].filename == __file__
    assert path.read_text().startswith("old\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configure_logging("INFO", path, overwrite=False)
        assert path.read_text().startswith("old\n")
        configure_logging("INFO", path, overwrite=True)
    assert "old" not in path.read_text()


def test_a_second_call_replaces_the_first(tmp_path):
    configure_logging("INFO", tmp_path / "a.txt")
    configure_logging("INFO", tmp_path / "b.txt")
    logger.info("once")
    assert "once" not in (tmp_path / "a.txt").read_text()
    assert (tmp_path / "b.txt").read_text().count("once") == 1


def test_unknown_level_touches_no_file(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("old\n")
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("LOUD", path, overwrite=True)
    assert path.read_text() == "old\n"


@pytest.mark.filterwarnings("default:careful")
def test_log_file_takes_messages_and_warnings_in_the_block(tmp_path):
    path, level = tmp_path / "log.txt", logger.level
    with log_file(path):
        logger.info("inside")
        warnings.warn("careful", stacklevel=1)
    logger.info("outside")
    text = path.read_text()
    assert "versions: python" in text
    assert "inside" in text
    assert "careful" in text
    assert "outside" not in text
    assert logger.level == level


def test_log_file_leaves_the_configured_log_alone(tmp_path):
    configure_logging("WARNING", tmp_path / "mine.txt")
    with log_file(tmp_path / "run.txt"):
        logger.info("detail")
    assert "detail" not in (tmp_path / "mine.txt").read_text()
    assert "detail" in (tmp_path / "run.txt").read_text()
