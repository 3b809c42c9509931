"""Look at a trained run in a browser: images, scores, thresholds, the data; segment a picture of your own.

python -m cloudseg.app --run runs/NAME
python -m cloudseg.app --run runs/NAME --with runs/OTHER --port 8502

Needs a run that `cloudseg.evaluate` has scored, and no GPU. Prints the URL to open. The URL holds a token, and nobody
can use the app without it. It listens on this machine only; from another one: ssh -L 8501:localhost:8501 USER@LOGIN,
then open the URL there.
"""

from __future__ import annotations

from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import run_command


def main() -> None:
    parser = run.parser("app", __doc__)
    parser.add_argument(
        "--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="to compare with"
    )
    parser.add_argument("--port", type=int, default=8501, help="(default %(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="where it listens (default %(default)s: this machine)")
    parser.add_argument(
        "--no-token",
        action="store_true",
        help="allow everybody who can connect, for use behind a proxy that authenticates users",
    )
    args = parser.parse_args()

    from cloudseg.showcase import access, evaluated, server

    runs = list(dict.fromkeys(evaluated.load(path).run.path for path in (args.run, *args.others)))
    server.serve(runs, args.address, args.port, None if args.no_token else access.new_token())


if __name__ == "__main__":
    run_command(main)
