"""Storages on the meta device can be told apart."""

import torch

from adept_llm.compat.torch import storage_id


def test_views_share_a_storage_on_the_meta_device_and_others_do_not():
    one, two = torch.empty(4, device="meta"), torch.empty(4, device="meta")
    assert storage_id(one) == storage_id(one[1:]) != storage_id(two)
