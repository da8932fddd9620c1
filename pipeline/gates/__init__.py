"""What a candidate must show: the rules, and the verdicts made from measured ranks."""
