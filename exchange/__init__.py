"""The venue: the only importers of ccxt, and the bundled simulator."""
