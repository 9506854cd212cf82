"""Thin shells around the rules: receive a message, ask the core, carry out the effects.

The only importers of thespian.
"""
