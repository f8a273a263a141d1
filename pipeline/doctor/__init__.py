"""Is everything there that a release needs: each dependency of a blueprint looked at, nothing changed, and what mends it.

    verdicts = examine(blueprint, site)
    print(table(verdicts))

Every check is bounded in time. One that breaks says so itself and keeps none of the others.
"""

from __future__ import annotations

from pipeline.doctor.fix import Consent, cure
from pipeline.doctor.questions import examine
from pipeline.doctor.show import COLOURS, rows, table
from pipeline.doctor.verdict import Status, Verdict, exit_code

__all__ = ["COLOURS", "Consent", "Status", "Verdict", "cure", "examine", "exit_code", "rows", "table"]
