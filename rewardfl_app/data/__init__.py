"""Training data: metadata.csv and the videos it names."""
