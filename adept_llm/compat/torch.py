"""Names of torch that it does not promise to keep. Read in torch 2.13.0."""

from torch import Tensor


def storage_id(tensor: Tensor) -> int:
    """A number for the memory that a tensor looks at, on the meta device too.

    Holds while any tensor of that memory lives. `data_ptr()` is 0 for all storages on the meta
    device, so the address of torch's own object is taken (`_cdata`); if it is renamed, estimates of
    memory fail.
    """
    return tensor.untyped_storage()._cdata
