import os

# `make test-vm` names the folder of the image; `make test` has neither an emulator nor the minutes that it takes.
collect_ignore = [] if "LOCUM_VM" in os.environ else ["test_vm.py"]
