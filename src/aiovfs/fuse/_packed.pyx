# cython: language_level=3
"""`Packed`: the body of a reply in the kernel's own form. See `packed`."""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo


@cython.no_gc
@cython.freelist(16)
cdef class Packed:
    """The body of a reply in the kernel's form, or the errno in its place; read-only for Python."""

    def __cinit__(self):
        self.data = self.small

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.size, 1, flags)


def errno_of(Packed reply):
    """The errno that is sent in the place of a body; 0: none."""
    return reply.error
