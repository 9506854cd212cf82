"""Which bases thespian's suite can be run on, and what the suite calls them."""

BASE_VARIABLE = "THESPIAN_SUITE_BASE"
UNIX_NAME = "multiprocUnixBase"
TCP_NAME = "multiprocTCPBase"
NAMES = {"unix": UNIX_NAME, "tcp": TCP_NAME, "stock-tcp": TCP_NAME}
"""The suite's name for each base that can be asked for; `stock-tcp` is thespian's own."""
