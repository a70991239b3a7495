"""`python -m tests.races.bridge_process CONFIG FIGURES`: the bridge, whose last snapshot goes to the file FIGURES.

Its log has each line, at any rate: who started it counts them.
"""

import json
import logging
import os
import sys
from pathlib import Path
from unittest.mock import patch

from pykafkaevt.bridge.config import from_toml
from pykafkaevt.bridge.daemon import Bridge
from pykafkaevt.bridge.logs import configure
from pykafkaevt.log_rate import LogRate


def main() -> int:
    """See above."""
    config = from_toml(sys.argv[1])
    configure(config.log_format, config.log_level)
    bridge = Bridge(config)
    with patch.object(LogRate, "allows", return_value=True):
        code = bridge.run()
    Path(sys.argv[2]).write_text(json.dumps({**bridge.commands.snapshot(), "living": bridge.living}))
    if bridge.living:
        # the interpreter's own end would wait for them
        logging.shutdown()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
