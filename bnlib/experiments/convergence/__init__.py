"""Whether training is faster."""
