"""The pocket family: embedded miniatures of exactly the real formats, and what made them."""
