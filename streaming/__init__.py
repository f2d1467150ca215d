"""The server side of steno: policy and time, no tensors."""
