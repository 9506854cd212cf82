"""The brakes at work, for whoever wants to see it: `python -m tests.system.brakes --help`.

Each command starts a simulator and the daemon as `intentd up` does, presses one brake as hard as it can, and judges by
what the *venue* has recorded, against the book and the audit trail. The tests run the same commands, only smaller.
"""
