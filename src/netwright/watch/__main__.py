"""``python -m netwright.watch train.py``: the same as ``netwright watch train.py``."""

import sys

from netwright.cli import main

if __name__ == "__main__":
    sys.exit(main(["watch", *sys.argv[1:]]))
