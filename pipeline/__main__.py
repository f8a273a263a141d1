"""inv, as `python -m pipeline`: what is wrong with Invoke's own flags is told in this project's words too.

Invoke reads them before it reads a tasks.py, so that `inv` itself knows nothing of this project by then.
"""

from __future__ import annotations

import sys

from invoke.main import program

from pipeline.ending import end_quietly
from pipeline.line import polite

if __name__ == "__main__":
    sys.argv[0] = "inv"
    end_quietly()
    polite(program)
    program.run()
