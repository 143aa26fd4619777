"""`python -m rewardfl_app`."""

import sys

from rewardfl_app.cli.app import main

sys.exit(main())
