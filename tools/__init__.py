"""intentctl, the launcher's inside and the demo: everything a person at a terminal sees."""
