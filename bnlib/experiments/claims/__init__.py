"""What is asserted of each experiment, and the statistics that settle it."""
