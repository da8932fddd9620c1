"""What item features are computed with."""
