"""What experiments are made of: data, models, training, and what is measured on the way."""
