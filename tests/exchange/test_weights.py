"""What we count for a request is what the simulator charges for it, and that is what Binance states."""

from __future__ import annotations

import pytest

from exchange.simulator.endpoints import ENDPOINTS
from exchange.simulator.params import Params
from exchange.weights import WEIGHTS, Endpoint, weight_of

PARAMETERS = ("symbol", "orderId", "origClientOrderId", "fromId", "startTime", "limit")


@pytest.mark.parametrize("endpoint", WEIGHTS, ids=" ".join)
@pytest.mark.parametrize("sent", [(), *((name,) for name in PARAMETERS), PARAMETERS])
def test_our_table_is_the_venues(endpoint: Endpoint, sent: tuple[str, ...]) -> None:
    """For each endpoint that we use, with every parameter that may make it cheaper."""
    method, path = endpoint
    (served,) = [
        found for (kind, place), found in ENDPOINTS.items() if (kind, place.split("/", 3)[3]) == (method, path)
    ]
    charged = served.weight(Params("&".join(f"{name}=1" for name in sent)))
    assert weight_of(endpoint, sent) == charged
