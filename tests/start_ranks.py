"""Run a program as so many ranks of this machine, as batch jobs do: start_ranks.py RANKS WORDS, of `python WORDS`."""

from __future__ import annotations

import sys

from cloudseg.job import launcher

sys.exit(launcher.local(sys.argv[2:], int(sys.argv[1])))
