from tests.train.conftest import data, train  # noqa: F401  pytest finds fixtures here
