"""Trials: the daemon under kills and faults, as a real process, against the simulator, judged by the venue's truth."""
