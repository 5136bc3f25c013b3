"""Whether covariate shift explains anything."""
