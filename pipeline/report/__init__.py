"""What a person reads: the cycle report, its charts, the terminal screens."""
