"""The engines. `aio.select` chooses among them by trying."""
