"""What a candidate must show: the rules, and the checks made of measures."""
