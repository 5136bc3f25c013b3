"""What the noise of the batch does."""
