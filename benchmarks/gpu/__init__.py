"""All that only a GPU can tell, in pieces: kernels, training, memory, and two of PEFT's methods."""
