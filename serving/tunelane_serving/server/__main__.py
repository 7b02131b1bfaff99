"""`python -m tunelane_serving.server`: the same command as `tunelane-serve`."""

import sys

from tunelane_serving.server.command import main

sys.exit(main())
