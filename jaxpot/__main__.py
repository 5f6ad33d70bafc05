"""`python -m jaxpot`, the same as the console script `jaxpot`."""

import sys

from jaxpot.cli import main

if __name__ == "__main__":
    sys.exit(main())
