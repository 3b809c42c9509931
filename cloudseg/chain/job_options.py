"""Options of launch that become options of sbatch."""

from __future__ import annotations

import argparse


def add_arguments(group: argparse._ArgumentGroup) -> None:
    """Add these options to a group of options."""
    group.add_argument("--reservation", metavar="NAME", help="reservation that the stages and the evaluation run in")
    group.add_argument("--exclude", metavar="NODES", help="nodes that no job may use, for example node3,node[7-9]")
    group.add_argument(
        "--begin", metavar="TIME", help="no job starts before it, for example 20:00 or now+2hours; resume forgets it"
    )
    group.add_argument(
        "--throttle",
        type=_positive,
        metavar="N",
        help="at most N tasks of an array run at the same time: shards of preprocess, --folds, --values",
    )
    group.add_argument("--mail", metavar="ADDRESS", help="Slurm sends a mail to it when a stage ends or fails")


def of_stages(args: argparse.Namespace) -> tuple[str, ...]:
    """sbatch options of stages and evaluations."""
    reservation = (f"--reservation={args.reservation}",) if args.reservation else ()
    return (*of_every_job(args), *reservation, *of_mail(args))


def of_every_job(args: argparse.Namespace) -> tuple[str, ...]:
    """sbatch options of all jobs, preprocessing included, which may run in another partition than the stages."""
    given = {"--exclude": args.exclude, "--begin": args.begin}
    return tuple(f"{name}={value}" for name, value in given.items() if value)


def of_mail(args: argparse.Namespace) -> tuple[str, ...]:
    """sbatch options for mail when a job ends or fails."""
    return (f"--mail-user={args.mail}", "--mail-type=END,FAIL") if args.mail else ()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
