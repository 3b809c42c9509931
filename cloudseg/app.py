"""Show a trained run in a browser: images, scores, thresholds, the data set. Segments images that you upload.

python -m cloudseg.app --run runs/NAME
python -m cloudseg.app --run runs/NAME --with runs/OTHER --port 8502

The run must be scored with `cloudseg.evaluate`. The app needs no GPU. It prints the URL to open, which contains an
access token. Listens on 127.0.0.1 by default. To open it from another machine, type there
ssh -L 8501:localhost:8501 USER@LOGIN, and open the URL.
"""

from __future__ import annotations

from pathlib import Path

from cloudseg.core import run
from cloudseg.core.errors import run_command


def main() -> None:
    parser = run.parser("app", __doc__)
    parser.add_argument(
        "--with", dest="others", nargs="+", type=Path, default=[], metavar="RUN", help="more runs to compare"
    )
    parser.add_argument("--port", type=int, default=8501, help="(default %(default)s)")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--no-token",
        action="store_true",
        help="no access token: everybody who can connect has access, for a proxy that authenticates users",
    )
    args = parser.parse_args()

    from cloudseg.showcase import access, evaluated, server

    runs = list(dict.fromkeys(evaluated.load(path).run.path for path in (args.run, *args.others)))
    server.serve(runs, args.address, args.port, None if args.no_token else access.new_token())


if __name__ == "__main__":
    run_command(main)
