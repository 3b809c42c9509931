"""Look at a trained run in a browser: images, scores, thresholds, the data; segment a picture of your own.

python -m cloudseg.app --run runs/NAME
python -m cloudseg.app --run runs/NAME --with runs/OTHER --port 8502

Needs a run that `cloudseg.evaluate` has scored, and no GPU. It is heard on this machine only; from another one:
ssh -L 8501:localhost:8501 USER@LOGIN, then open http://localhost:8501 there.
"""

from __future__ import annotations

from pathlib import Path

from cloudseg import run
from cloudseg.errors import run_command


def main() -> None:
    parser = run.parser("app", __doc__)
    parser.add_argument(
        "--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="to compare with"
    )
    parser.add_argument("--port", type=int, default=8501, help="(default %(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="where it listens (default %(default)s: this machine)")
    args = parser.parse_args()

    from cloudseg.showcase import evaluated, server

    runs = [evaluated.load(path) for path in (args.run, *args.others)]
    server.serve(list(dict.fromkeys(each.run.path for each in runs)), args.address, args.port)


if __name__ == "__main__":
    run_command(main)
