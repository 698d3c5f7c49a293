"""What the probe asks from outside, by subject."""
