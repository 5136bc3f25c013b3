"""What scale invariance does to weights and rates."""
