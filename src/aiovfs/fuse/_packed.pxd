from libc.stdint cimport int32_t

cdef class Packed:
    cdef unsigned char *data  # `small`, or memory of the subclass
    cdef size_t size
    cdef int32_t error  # a positive errno; then nothing else is sent
    cdef unsigned char small[144]  # the longest reply without names and data: an entry and an open file
