"""`python -m tunelane_pipelines.cli`."""

from tunelane_pipelines.cli.main import main

main()
