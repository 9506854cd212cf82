"""Settings of a trial: everything that waits, waits shorter, so that a run takes a minute and not an hour.

The proof that an order is not at the venue waits for recvWindow and for the lag of the venue's reads. Here the venue is
the simulator, whose lag is known.
"""

from __future__ import annotations

from typing import Final

TIMEOUT_MS: Final = 1_000
RECV_WINDOW_MS: Final = 1_000
READ_LAG_MS: Final = 1_000
HANG_TIMEOUT_S: Final = 5
COOL_OFF_S: Final = 2
"""Of the circuit breaker; doubled four times it is still much less than a trial's patience. With every fault on,
one of three probes fails in a third of the tests."""


def toml(venue_url: str, *, user_stream: bool = True, cool_off_s: int = COOL_OFF_S) -> str:
    """As a settings file. Without the user stream everything is found out by asking."""
    return f"""
[risk]
max_positions = 100
max_trades_per_day = 100000
max_open_orders = 1000

[engine]
restarts_max = 10000
heartbeat = "1s"
hang_timeout = "{HANG_TIMEOUT_S}s"
on_stop = "cancel"

[exchange]
base_url = "{venue_url}"
timeout_ms = {TIMEOUT_MS}
recv_window_ms = {RECV_WINDOW_MS}
read_lag = "{READ_LAG_MS}ms"
user_stream = {str(user_stream).lower()}

[router]
backoff_ms = 100
max_retries = 10
poll_interval = "300ms"

[reconciler]
order_interval = "1s"
trades_interval = "2s"
late_fill_check = "2s"
open_orders_interval = "3s"
in_flight_interval = "2s"
balance_interval = "3s"
private_data_max_age = "5s"
lookup_interval = "100ms"

[breaker]
cool_off = "{cool_off_s}s"
"""
