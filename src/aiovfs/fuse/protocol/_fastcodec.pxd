from libc.stdint cimport uint64_t

cdef object decode_message(const unsigned char *message, Py_ssize_t length, object buffer, uint64_t agreed)
