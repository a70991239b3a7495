"""`python -m pykafkaevt`, the same as the `pykafkaevt` command."""

from pykafkaevt.cli import main

if __name__ == "__main__":
    main()
