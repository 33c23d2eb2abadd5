"""File systems that the drivers mount: one name space (`namespace.py`), one server a library."""
