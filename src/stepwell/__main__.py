"""`python -m stepwell`: the command line where the script `stepwell` is not on the path."""

import sys

from stepwell.cli import main

if __name__ == "__main__":
    sys.exit(main())
