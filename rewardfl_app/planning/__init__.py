"""What a run will need, told by its settings before anything is loaded."""
