"""The pocket family: embedded miniature models of exactly the real formats, and the renderer and training that made them."""
