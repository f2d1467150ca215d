"""The captions page: static files served at `/`."""
