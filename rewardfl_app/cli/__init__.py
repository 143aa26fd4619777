"""The command line: `python -m rewardfl_app COMMAND`, one file per noun."""
