import importlib.util
import sys

from cloudseg.core import libraries

libraries.set_variables()

# sys.argv starts with "-m" while Python imports this package to find the module of `python -m cloudseg.COMMAND`.
if sys.argv[:1] == ["-m"]:
    if sys.version_info < (3, 11) or importlib.util.find_spec("numpy") is None:
        print(
            f"error: {sys.executable} does not have the packages of cloudseg; type: source .venv/bin/activate "
            "(env/setup.sh makes .venv)",
            file=sys.stderr,
        )
        raise SystemExit(2)

    from cloudseg.core.signals import stop

    stop.exit_at_once()
