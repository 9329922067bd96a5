"""TE computations and their schedules, one kernel family per file."""
