"""The tests.

A shell that starts them in the background has SIGINT ignored for all that they start, too: here Ctrl-C means Ctrl-C again.

A container's image often sets PYTHONDONTWRITEBYTECODE. The tests start hundreds of Pythons, and each of them would compile anew all that
it imports: here and in whatever is started from here, bytecode is kept.
"""

import os
import signal
import sys

signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
