"""The run folder: plain files, one writer each, the only channel between the processes."""
