"""Names of networks, without TensorFlow."""

from __future__ import annotations

import pytest

from cloudseg.core.errors import UsageError
from cloudseg.nets import names


@pytest.mark.parametrize("decoder", names.DECODERS)
def test_each_decoder_has_a_name_with_each_encoder(decoder):
    for encoder in names.ENCODERS:
        assert names.parse(f"{decoder}-{encoder}") == (decoder, encoder)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("deeplabv3-resnet50", "deeplabv3plus-resnet50"),
        ("ad-linknet-resnet34", "adlinknet-resnet34"),
        ("fcn8s-vgg16", "fcn-vgg16"),
        ("segnet-vgg-16", "segnet-vgg16"),
    ],
)
def test_the_nearest_name_is_offered_for_a_wrong_one(wrong, nearest):
    with pytest.raises(UsageError, match=f"there is no '{wrong}'; did you mean '{nearest}'"):
        names.parse(wrong)


@pytest.mark.parametrize("decoder", [name for name in names.DECODERS if name != "pspnet"])
def test_other_decoders_than_pspnet_train_on_crops_and_at_multiples_of_32(decoder):
    names.require_any_size(f"{decoder}-resnet18")
    names.require_size(f"{decoder}-resnet18", (64, 96))
