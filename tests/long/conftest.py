from cloudseg.models import FIVE
from tests.train.conftest import data, train  # noqa: F401  pytest finds fixtures here

NETWORKS = (*FIVE, "fcn-resnet18", "segnet-resnet18", "deeplabv3plus-mobilenetv2", "adlinknet-resnet34")
"""The five, and one with each other decoder, on an encoder with BatchNorm: FCN on VGG-16 has none at all, and does not
learn from random weights at the rate of the tests."""
