"""``python -m iso_exchange.cli`` is ``iso``."""

from iso_exchange.cli.main import main

if __name__ == "__main__":
    main()
