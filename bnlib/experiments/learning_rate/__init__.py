"""Which learning rates train."""
