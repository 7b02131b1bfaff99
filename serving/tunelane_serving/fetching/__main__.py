"""`python -m tunelane_serving.fetching` is `tunelane-ensure-model`."""

import sys

from tunelane_serving.fetching.command import main

if __name__ == "__main__":
    sys.exit(main())
