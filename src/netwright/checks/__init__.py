"""Find silent faults by experiment: on copies of a module, with a batch of its own data."""
