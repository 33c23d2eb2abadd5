cdef class Attributes:
    cdef public object atime_ns, birthtime_ns, blksize, blocks, ctime_ns, flags, gid, ino, mode, mtime_ns, nlink, rdev
    cdef public object size, timeout, uid

cdef class Entry:
    cdef public object attributes, generation, nodeid, timeout

cdef class Opened:
    cdef public object cache_dir, direct_io, fh, keep_cache, noflush, nonseekable, parallel_direct_writes, passthrough
    cdef public object stream

cdef class DirEntry:
    cdef public object entry, ino, mode, name, offset
