"""``python -m dipedge`` is the command line."""

import sys

from dipedge.cli import main

if __name__ == "__main__":
    sys.exit(main())
