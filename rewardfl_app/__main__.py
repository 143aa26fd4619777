"""`python -m rewardfl_app`."""

import sys

from rewardfl_app.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
