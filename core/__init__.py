"""The rules of intentd, as pure functions over immutable structs.

Nothing in this package does I/O, reads a clock, draws a random number or logs. Time comes in as `now_ns` (integer
nanoseconds UTC), money as `Decimal`, and everything durable through the `UnitOfWork` that the caller passes.
"""
