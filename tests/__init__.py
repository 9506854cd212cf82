"""The tests. They mirror the packages; see CONTRIBUTING.md for their house rules."""
