import sys

# Python's arguments begin so while it looks for the module of a command, as in `python -m cloudseg.launch`.
if sys.argv[:1] == ["-m"]:
    from cloudseg.core.signals import stop

    stop.end_at_once()
