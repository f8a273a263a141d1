"""The table and the rows: calm where all is well, mend lines under what needs them, nothing that a terminal would obey."""

from __future__ import annotations

import json

from pipeline.doctor.show import rows, table
from pipeline.doctor.verdict import fail, ok, unknown, warn

VERDICTS = [
    ok("workstation", "git", "git version 2.39.5"),
    fail("node", "mirror", "the node would ask by HTTPS", "in registries.yaml:\n  mirrors:"),
    unknown("cluster", "nodes", "may not be listed"),
    warn("node", "disk", "1 GB", "crictl rmi --prune"),
]


def test_the_table_groups_by_node_and_puts_the_mend_below() -> None:
    assert table(VERDICTS).splitlines() == [
        "workstation",
        "  ok      git     git version 2.39.5",
        "",
        "node",
        "  fail    mirror  the node would ask by HTTPS",
        "          mend    in registries.yaml:",
        "                    mirrors:",
        "  warn    disk    1 GB",
        "          mend    crictl rmi --prune",
        "",
        "cluster",
        "  unknown nodes   may not be listed",
        "",
        "1 ok, 1 to be looked at, 1 failed, 1 unknown",
    ]


def test_g01_a_node_cannot_write_on_the_terminal() -> None:
    shown = table([warn("node", "runtime", "\x1b[2Jall is well\r\nsecond", "a\x9bb")])
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\x9b" not in shown
    assert "\\x1b[2Jall is well" in shown


def test_rows_are_plain_json() -> None:
    assert json.loads(json.dumps(rows(VERDICTS)))[1] == {
        "where": "node",
        "name": "mirror",
        "status": "fail",
        "evidence": "the node would ask by HTTPS",
        "mend": "in registries.yaml:\n  mirrors:",
        "code": 2,
    }
