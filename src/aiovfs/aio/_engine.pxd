"""The engine that engines in C derive from."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from aiovfs.aio._operation cimport Host, Operation, Row, statx_result


cdef struct Descriptor:
    uint32_t tick
    uint32_t refused_until
    uint8_t flags


cdef class NativeEngine(Host):
    """What all engines in C share; see `_engine.pyx` for what a new one has to bring."""

    cdef object __weakref__
    cdef readonly bint is_closed
    cdef readonly int64_t in_flight
    cdef readonly int64_t hits
    cdef readonly int64_t misses
    cdef readonly int64_t jobs_started
    cdef public int budget_per_tick
    cdef public bint tries_in_place
    cdef int generation
    cdef unsigned long thread
    cdef bint is_tick_scheduled
    cdef bint is_draining
    cdef uint32_t tick_number
    cdef Operation deferred
    cdef Operation deferred_last
    cdef object threads
    cdef set jobs
    cdef uint8_t supports[256]
    cdef Descriptor *descriptors
    cdef int descriptors_size
    cdef object tick_callback
    cdef object emptied
    cdef uint32_t mounts_tick
    cdef object local
    cdef bint lacks_cached
    cdef uint64_t last_local

    # What a derived engine brings.
    cdef int submit(self, Operation operation) except -1
    cdef int flush_queue(self) except -1
    cdef int reap_some(self, int most) except -1
    cdef bint has_queued(self)
    cdef bint cancel_submitted(self, Operation operation) except -1

    # What it calls.
    cdef int begin(self) except -1
    cdef void ended(self, Operation operation, int64_t result)
    cdef int after_work(self) except -1
    cdef int begin_sync(self, Operation operation) except -1
    cdef int pump(self) except -1
    cdef bint is_foreign(self) noexcept

    cdef int check(self) except -1
    cdef Operation start(self, Row row, tuple args)
    cdef Operation start_job(self, Operation operation, Row row, tuple args)
    cdef int route(self, Operation operation) except -1
    cdef int defer(self, Operation operation) except -1
    cdef int run_deferred(self) except -1
    cdef int try_now(self, Operation operation) except -1
    cdef int try_inline(self, Operation operation) except -1
    cdef int try_stat(self, Operation operation) except -1
    cdef int try_open(self, Operation operation) except -1
    cdef int open_local(self, int directory, const char *path, uint64_t flags, statx_result *got) except -200
    cdef bint try_file(self, Operation operation) except -1
    cdef bytes cached_file(self, object path, object limit)
    cdef bint is_local(self, uint64_t device) except -1
    cdef bint may_try(self, Operation operation) noexcept
    cdef int look_at(self, int fd) except -1
    cdef bint is_served(self, int fd) except -1
    cdef bint asks_server(self, int fd) except -1
