"""What a cell or a script needs: start and find runs, follow them, score a video, compare before and after.

The names are those of `rewardfl_app` itself: `from rewardfl_app import start, find, list_runs, follow, score, compare`.
Nothing here loads a network: whatever needs one runs in a process of its own.
"""
