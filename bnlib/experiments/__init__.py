"""One module per experiment: its runs, what it measures and the claims that it judges."""
