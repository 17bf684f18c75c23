"""`python -m job` is `mlp-job`."""

from job.cli import main

main()
