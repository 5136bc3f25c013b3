"""Which initial weights train."""
