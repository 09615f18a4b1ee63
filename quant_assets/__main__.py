"""What `make` calls: python -m quant_assets demo | ui | mlflow. A known error ends it in one line, no traceback."""

from __future__ import annotations

import argparse
import sys

from resources.errors import QuantError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m quant_assets", description=__doc__)
    parser.add_argument("command", choices=["demo", "ui", "mlflow"])
    parser.add_argument("--host", default="127.0.0.1", help="ui: address to bind; keep it local")
    parser.add_argument("--port", type=int, help="ui: 3000, mlflow: 5000 unless told otherwise")
    options = parser.parse_args()
    try:
        if options.command == "demo":
            from resources.config import load
            from resources.instance import at_work

            with at_work(load(), "make demo"):  # asked before the imports, which take seconds
                from quant_assets.demo import main as demo

                demo()
            return
        from quant_assets import ui

        ui.dagster(options.host, options.port or 3000) if options.command == "ui" else ui.mlflow(options.port or 5000)
    except QuantError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
