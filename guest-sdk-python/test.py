"""Runs the tests in `test_*.py`, with the SDK's stand-in as the host."""

import sys
import unittest
from pathlib import Path

# The SDK may be shared or read-only.
sys.dont_write_bytecode = True
sys.path[0:0] = [str(Path.cwd()), str(Path(__file__).resolve().parent)]
unittest.main(module=None, argv=["test", "discover", *sys.argv[1:]])
