"""Nodes of a partition that can run jobs now, from sinfo. Parsing is pure."""

from __future__ import annotations

from cloudseg.slurm import commands
from cloudseg.slurm.sites import Resources

UNAVAILABLE = ("down", "drain", "fail", "maint", "inval", "unk", "power", "reboot", "boot", "future")
"""Start of sinfo's long states of nodes that take no new job."""


def missing(need: Resources) -> str:
    """What a job that requests `need` waits for if too few nodes of its partition are up; "" if enough are.

    "" also if the partition has fewer nodes than requested, and if sinfo does not answer.
    """
    text = commands.query(["sinfo", "--noheader", f"--partition={need.partition}", "--format=%D %T"])
    up, total = parse(text or "")
    if up >= need.nodes or total < need.nodes:
        return ""
    return f"starts when {need.nodes} nodes are up: {up} of {total} are now (sinfo -R says why)"


def parse(text: str) -> tuple[int, int]:
    """The numbers of nodes that take jobs and of all nodes, from lines of "NUMBER STATE"."""
    rows = [(int(number), state) for number, _, state in (line.strip().partition(" ") for line in text.splitlines())]
    return (
        sum(number for number, state in rows if not state.lower().startswith(UNAVAILABLE)),
        sum(number for number, _ in rows),
    )
