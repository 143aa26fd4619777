"""The networks: loading, conditioning, sampling, decoding and the LoRA."""
