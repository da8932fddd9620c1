"""When cycles run: schedules, tasks and their order; no logic."""
