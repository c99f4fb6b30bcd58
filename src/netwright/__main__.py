"""``python -m netwright`` is the command ``netwright``."""

import sys

from netwright.cli import main

sys.exit(main())
