"""What intentd costs, measured: `python -m benchmarks --help`.

Every figure that matters is a ratio of two things measured in one run, in turn, on one machine: ours and thespian's own
transport, through intentd and bare ccxt, a large book and a small one. A busy machine then slows both.
"""
