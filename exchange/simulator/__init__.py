"""A faithful Binance Spot server on the loopback address: `python -m exchange.simulator --help`."""
