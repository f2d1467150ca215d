"""The bundled checkpoint, in the official layout; see README.md beside this file."""
