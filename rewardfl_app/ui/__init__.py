"""The page: Train, Monitor and Compare over the run folders. Holds no process and no truth, and never imports torch."""
