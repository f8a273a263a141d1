"""What is told while a release is taken back."""

from __future__ import annotations

from pipeline.deploy.rollback import in_one_line
from pipeline.errors import NotRolledBack


def test_a_cause_of_several_lines_is_one_line_of_the_story() -> None:
    error = NotRolledBack("web did not come up", cause="the chart:\n- at '': no")
    assert in_one_line(error) == "web did not come up: the chart: - at '': no"
    assert in_one_line(NotRolledBack("web did not come up")) == "web did not come up: see above"
