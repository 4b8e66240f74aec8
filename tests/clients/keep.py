"""Puts the tables on standard input into README.md, in the place of those of the last run."""

import datetime
import sys
from pathlib import Path

README = Path(__file__).with_name("README.md")
HEADING = "## Results of the last full run"


def main():
    tables = sys.stdin.read().strip()
    before = README.read_text().split(HEADING)[0].rstrip()
    README.write_text(f"{before}\n\n{HEADING}\n\nOf {datetime.date.today()}.\n\n{tables}\n")


if __name__ == "__main__":
    main()
