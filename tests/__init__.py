"""The tests.

A shell that starts them in the background has SIGINT ignored for all that they start, too: here Ctrl-C means Ctrl-C again.
"""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
