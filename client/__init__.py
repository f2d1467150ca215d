"""The client side of steno: audio in, captions out; no torch and no server code."""
