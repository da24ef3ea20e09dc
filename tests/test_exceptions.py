import pytest

from opnmf_pipeline.exceptions import EngineError, ExitCode


@pytest.mark.parametrize(
    ("causes", "code"),
    [
        (["ConfigError", "TableError"], ExitCode.INPUT),
        (["MemoryError", "OSError"], ExitCode.INPUT),
        (["ConfigError", "KeyError"], ExitCode.BUG),
        (["nibabel.Unknown"], ExitCode.BUG),
        (["ExitCode"], ExitCode.BUG),
        ([], ExitCode.BUG),
    ],
)
def test_a_failed_workflow_has_the_code_of_its_causes(causes, code):
    assert EngineError("jobs failed", causes).exit_code == code
