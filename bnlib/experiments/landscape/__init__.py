"""Whether the loss is smoother."""
