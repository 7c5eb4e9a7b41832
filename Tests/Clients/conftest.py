import os

# Their packages are heavy: they have an environment of their own, see `make test-clients`.
collect_ignore = [] if "LOCUM_CLIENTS" in os.environ else ["test_clients.py"]
