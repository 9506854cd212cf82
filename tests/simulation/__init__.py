"""Deterministic simulation: the real actors, book and matching engine under one seeded scheduler and a virtual clock.

`python -m tests.simulation --help` says how to run it, docs/simulation.md what it is made of.
"""
