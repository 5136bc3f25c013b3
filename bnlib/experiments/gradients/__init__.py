"""What happens to gradients and signals in depth."""
