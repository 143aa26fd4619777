"""Starting, watching and stopping runs: the detached training process and what became of it."""
