"""What accelerate keeps for a process is taken and given back, to the objects that are there."""

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from adept_llm.compat.accelerate import process_state, set_process_state


def test_the_state_is_given_back_to_objects_of_before():
    """Trainer holds them, and each new set of training arguments empties what they share."""
    accelerator = Accelerator(cpu=True)
    accelerator.gradient_state._set_sync_gradients(False)
    before, device = process_state(), accelerator.state.device
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    assert not PartialState._shared_state
    Accelerator(cpu=True).gradient_state._set_sync_gradients(True)
    assert accelerator.gradient_state.sync_gradients
    set_process_state(before)
    assert not accelerator.gradient_state.sync_gradients
    assert accelerator.state.device == device
    GradientState._reset_state()
