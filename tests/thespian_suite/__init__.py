"""thespian's own test suite, which its package ships, run against our system bases."""
