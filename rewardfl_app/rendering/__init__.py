"""Clips made ready for the model, videos rendered from them and scored: what training and inference share."""
