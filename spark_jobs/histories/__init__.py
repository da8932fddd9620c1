"""Users' histories: events cut in time, the source's high-value rule, and numbered tokens."""
