"""`python -m benchsuite.report [folder]`: render the page again from saved results."""

import argparse
import sys
from pathlib import Path

from benchsuite.report.build import build


def main(arguments: list[str] | None = None) -> int:
    """Write the page and print its path; 2, with one line on stderr, where that cannot be done.

    Run it in the folder that pytest ran in: claims are looked for there, to see what has changed.
    """
    parser = argparse.ArgumentParser(prog="python -m benchsuite.report", description=__doc__)
    parser.add_argument("folder", nargs="?", default="reports", type=Path)
    folder = parser.parse_args(arguments).folder
    try:
        print(build(folder, root=Path.cwd()))
    except (ValueError, OSError) as error:
        print(f"benchsuite.report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
