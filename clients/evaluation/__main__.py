"""`python -m clients.evaluation`: `jurat evaluate`, also where nothing is installed."""

import sys

from clients.evaluation.main import main

sys.exit(main(sys.argv[1:]))
