"""See the package."""

import faulthandler
import logging
import sys

from tests.races.faults import closing, fatal, lifetime

SECONDS = 40  # none takes half as long

if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    logging.disable(logging.CRITICAL)
    (name,) = sys.argv[1:]
    (case,) = (getattr(module, name) for module in (closing, fatal, lifetime) if hasattr(module, name))
    case()
