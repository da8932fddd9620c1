"""When cycles run: schedules, tasks and arrows; no logic."""
