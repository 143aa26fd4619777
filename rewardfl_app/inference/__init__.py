"""Videos from trained models, and the comparison before and after."""
