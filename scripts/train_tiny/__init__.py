"""Training of the bundled checkpoint: prepare, train, evaluate (see models/tiny/README.md)."""
