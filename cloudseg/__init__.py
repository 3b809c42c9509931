import sys

# sys.argv starts with "-m" while Python imports this package to find the module of `python -m cloudseg.COMMAND`.
if sys.argv[:1] == ["-m"]:
    from cloudseg.core.signals import stop

    stop.exit_at_once()
