"""What the evaluating stages share: the window, the models compared on it, their ranks."""
