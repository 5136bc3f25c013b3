"""How gradients pass through the layer."""
