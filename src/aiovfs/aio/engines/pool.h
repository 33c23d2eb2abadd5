/* A pool of threads that do requests with blocking system calls, and channels through which requests come and go.
 *
 *   owner thread              workers                      owner thread
 *   channel_push … push  →   queue (mutex, FIFO)   →   completion stack (lock-free)   →   channel_reap
 *   channel_flush                                       one eventfd write per batch
 *
 * - A *channel* belongs to one loop (or one context of `compat.caio`). Requests are staged by `channel_push` and handed over
 *   by `channel_flush`, once a tick: one lock, at most one wake-up. A worker that takes a request and sees more wakes the
 *   next worker itself, so waking costs the loop's thread one system call however many requests there are.
 * - Workers know nothing of Python and never ask for the GIL. A completion is pushed onto the channel's stack; only whoever
 *   finds the stack empty writes the eventfd, so that a batch costs one write and one read.
 * - `pool_shared` is one pool for all channels of the process, made when the first request is handed over, never ended: its threads
 *   sleep in futex(2) when there is nothing to do. `pool_new` makes one of its own, with an end.
 * - Requests on pipes, sockets and terminals may wait for ever. They would take a worker each, so one that would wait moves
 *   to a thread of its own, which watches the descriptor and notices when the request is cancelled.
 * - `fork`: threads do not exist in the child. Channels made before are dead there (`channel_flush` says -EOWNERDEAD), and
 *   the shared pool is made anew when it is needed.
 * - A channel lives until its owner has let go and its last request has ended, whatever ends first: a worker never
 *   completes into freed memory. Who frees the *buffers* earlier is to blame himself: see `channel_in_flight`.
 *
 * Tried and dropped: waking as many threads as there are requests (with cached files, four of five found nothing left); a
 * condition variable per worker; handing a worker several requests at once (one that waits for a disk holds up the others).
 */
#ifndef AIOVFS_POOL_H
#define AIOVFS_POOL_H

#include "request.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define POOL_STACK_SIZE (256 * 1024)
#define POOL_EXTRA_THREADS 256 /* threads for requests that wait on pipes and the like, beyond the pool's */
#define POOL_CANCEL_CHECK_MS 50

enum { JOB_QUEUED, JOB_RUNNING, JOB_CANCELLED };

struct channel;

typedef struct job {
    struct job *next; /* in the staged list, the queue, the completion stack or the free list: never in two */
    struct channel *channel;
    atomic_int state;
    int32_t result;
    request request;
} job;

typedef struct pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    job *head, *tail;
    unsigned queued, idle, threads, limit, extra;
    int stopping;
    int generation;
    pthread_t *ids; /* only of pools with an end */
} pool;

typedef struct channel {
    pool *pool;
    int eventfd;
    int generation;
    atomic_int is_closing; /* what waits for pipes and the like gives up */
    atomic_int references; /* the owner, and every request that is in flight */
    _Atomic(job *) completed;
    /* what follows is touched by the owner's thread only */
    job *ready; /* taken from the stack, in order of completion */
    job *staged, *staged_tail;
    job *free;
    unsigned staged_count;
    unsigned in_flight; /* pushed and not yet reaped */
} channel;

/* --- fork ------------------------------------------------------------------------------------------------------ */

static int pool_generation = 1; /* raised in every forked child: what was made before has no threads there */
static pool *pool_of_process = NULL;
static pthread_mutex_t pool_shared_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static void pool_after_fork_in_child(void)
{
    pool_generation++;
    pool_of_process = NULL;
    pthread_mutex_init(&pool_shared_lock, NULL);
}

static void pool_register_fork(void)
{
    pthread_atfork(NULL, NULL, pool_after_fork_in_child);
}

/* --- completing ------------------------------------------------------------------------------------------------ */

static void channel_unreference(channel *c)
{
    if (atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) != 1)
        return;
    job *lists[] = {atomic_load(&c->completed), c->ready, c->staged, c->free};
    for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++)
        for (job *j = lists[i], *next; j; j = next) {
            next = j->next;
            free(j);
        }
    if (c->eventfd >= 0)
        close(c->eventfd);
    free(c);
}

static void channel_complete(job *j, int32_t result)
{
    channel *c = j->channel;
    job *top = atomic_load_explicit(&c->completed, memory_order_relaxed);
    j->result = result;
    do {
        j->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&c->completed, &top, j, memory_order_release, memory_order_relaxed));
    /* From here on the owner may reap `j`, and then somebody may use it again. */
    if (!top) {
        uint64_t one = 1;
        while (write(c->eventfd, &one, sizeof one) < 0 && errno == EINTR)
            ;
    }
    channel_unreference(c);
}

/* --- executing ------------------------------------------------------------------------------------------------- */

/* Whether a read or write of something without positions would have to wait for somebody else now. */
static int job_would_wait(const job *j)
{
    struct pollfd ready = {.fd = j->request.fd, .events = request_is_write(&j->request) ? POLLOUT : POLLIN};
    return poll(&ready, 1, 0) == 0;
}

static void job_run_watched(job *j)
{
    struct pollfd ready = {.fd = j->request.fd, .events = request_is_write(&j->request) ? POLLOUT : POLLIN};
    while (poll(&ready, 1, POOL_CANCEL_CHECK_MS) == 0)
        if (atomic_load(&j->state) == JOB_CANCELLED || atomic_load(&j->channel->is_closing)) {
            channel_complete(j, -ECANCELED);
            return;
        }
    channel_complete(j, request_execute(&j->request));
}

typedef struct watched {
    pool *pool;
    job *job;
} watched;

static void *pool_watch(void *argument)
{
    watched w = *(watched *)argument;
    free(argument);
    job_run_watched(w.job);
    pthread_mutex_lock(&w.pool->lock);
    w.pool->extra--;
    pthread_cond_broadcast(&w.pool->wake); /* pool_end waits for these */
    pthread_mutex_unlock(&w.pool->lock);
    return NULL;
}

static int pool_start_thread(pthread_t *id, void *(*function)(void *), void *argument)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int failed;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, POOL_STACK_SIZE);
    sigfillset(&all); /* signals are for threads that know what to do with them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(id, &attributes, function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

/* Give a request that would wait to a thread of its own; 0 when it has to be done here. */
static int job_move_away(pool *p, job *j)
{
    pthread_t id;
    watched *w;
    int moved = 0;
    pthread_mutex_lock(&p->lock);
    if (p->extra < POOL_EXTRA_THREADS && (w = malloc(sizeof *w))) {
        w->pool = p;
        w->job = j;
        p->extra++;
        moved = pool_start_thread(&id, pool_watch, w) == 0;
        if (moved) {
            pthread_detach(id);
        } else {
            p->extra--;
            free(w);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return moved;
}

static void job_run(pool *p, job *j)
{
    const request *r = &j->request;
    int expected = JOB_QUEUED;
    int32_t result = -ESPIPE;
    if (!atomic_compare_exchange_strong(&j->state, &expected, JOB_RUNNING)) {
        channel_complete(j, -ECANCELED);
        return;
    }
    if (!request_is_transfer(r)) {
        result = request_execute(r);
    } else if ((int64_t)r->off != -1) {
        int64_t done = request_transfer(r, 1); /* says ESPIPE at once, also where it would wait */
        result = done < 0 ? -errno : (int32_t)done;
    }
    if (result == -ESPIPE && request_is_transfer(r)) {
        if (job_would_wait(j) && job_move_away(p, j))
            return;
        result = request_execute(r);
    }
    channel_complete(j, result);
}

static void *pool_work(void *argument);

/* With the lock held: one more worker, when nobody is idle and there may be more. */
static void pool_grow(pool *p)
{
    pthread_t id;
    if (p->idle || p->threads >= p->limit)
        return;
    if (pool_start_thread(p->ids ? &p->ids[p->threads] : &id, pool_work, p) == 0) {
        if (!p->ids)
            pthread_detach(id);
        p->threads++;
    }
}

static void *pool_work(void *argument)
{
    pool *p = argument;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->head && !p->stopping) {
            p->idle++;
            pthread_cond_wait(&p->wake, &p->lock);
            p->idle--;
        }
        job *j = p->head;
        if (!j)
            break;
        p->head = j->next;
        p->queued--;
        if (p->head) {
            if (p->idle)
                pthread_cond_signal(&p->wake);
            else
                pool_grow(p);
        }
        pthread_mutex_unlock(&p->lock);
        job_run(p, j);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* --- pools ----------------------------------------------------------------------------------------------------- */

static inline unsigned pool_default_threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 4 : cores > 8 ? 32 : (unsigned)cores * 4;
}

/* A pool of its own, with up to `threads` threads; NULL without memory. `pool_end` ends it. */
static inline pool *pool_new(unsigned threads)
{
    pool *p = calloc(1, sizeof *p);
    pthread_once(&pool_once, pool_register_fork);
    if (!p)
        return NULL;
    p->ids = calloc(threads, sizeof *p->ids);
    if (!p->ids) {
        free(p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    p->limit = threads;
    p->generation = pool_generation;
    return p;
}

/* The process's pool; NULL without memory. */
static inline pool *pool_shared(unsigned threads)
{
    pthread_once(&pool_once, pool_register_fork);
    pthread_mutex_lock(&pool_shared_lock);
    pool *p = pool_of_process;
    if (!p && (p = calloc(1, sizeof *p))) {
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->wake, NULL);
        p->limit = threads ? threads : pool_default_threads();
        p->generation = pool_generation;
        pool_of_process = p;
    }
    pthread_mutex_unlock(&pool_shared_lock);
    return p;
}

/* Do what is queued, then end the threads of a pool that `pool_new` made, and free it. Blocks. */
static inline void pool_end(pool *p)
{
    if (p->generation == pool_generation) {
        pthread_mutex_lock(&p->lock);
        p->stopping = 1;
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->threads; i++)
            pthread_join(p->ids[i], NULL);
        pthread_mutex_lock(&p->lock);
        while (p->extra)
            pthread_cond_wait(&p->wake, &p->lock);
        pthread_mutex_unlock(&p->lock);
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
    }
    free(p->ids);
    free(p);
}

/* --- channels -------------------------------------------------------------------------------------------------- */

/* A channel into `p`; NULL (and errno) when there is no memory or no descriptor for it. */
static inline channel *channel_new(pool *p)
{
    channel *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->eventfd < 0) {
        free(c);
        return NULL;
    }
    c->pool = p;
    c->generation = pool_generation;
    atomic_init(&c->references, 1);
    return c;
}

static inline int channel_is_dead(const channel *c)
{
    return c->generation != pool_generation;
}

/* Stage a request. Returns the job that `channel_cancel` takes, valid until the request was reaped; NULL without memory. */
static inline job *channel_push(channel *c, const request *r)
{
    job *j = c->free;
    if (j)
        c->free = j->next;
    else if (!(j = malloc(sizeof *j)))
        return NULL;
    j->next = NULL;
    j->channel = c;
    atomic_init(&j->state, JOB_QUEUED);
    j->request = *r;
    c->in_flight++;
    atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    if (c->staged_tail)
        c->staged_tail->next = j;
    else
        c->staged = j;
    c->staged_tail = j;
    c->staged_count++;
    return j;
}

/* Hand over what was staged. Returns how many requests that were, or -EOWNERDEAD in a forked child, -EAGAIN when there
 * are no threads and none can be started (what is staged stays so). */
static inline int channel_flush(channel *c)
{
    pool *p = c->pool;
    unsigned count = c->staged_count;
    int result = (int)count;
    if (channel_is_dead(c))
        return -EOWNERDEAD;
    if (!count)
        return 0;
    pthread_mutex_lock(&p->lock);
    if (!p->threads)
        pool_grow(p);
    if (!p->threads) {
        result = -EAGAIN;
    } else {
        if (p->head)
            p->tail->next = c->staged;
        else
            p->head = c->staged;
        p->tail = c->staged_tail;
        p->queued += count;
        c->staged = c->staged_tail = NULL;
        c->staged_count = 0;
        if (p->idle)
            pthread_cond_signal(&p->wake);
        else
            pool_grow(p);
    }
    pthread_mutex_unlock(&p->lock);
    return result;
}

/* Let a request that no worker has taken yet end with -ECANCELED. Returns whether it will. */
static inline int channel_cancel(job *j)
{
    int expected = JOB_QUEUED;
    if (atomic_compare_exchange_strong(&j->state, &expected, JOB_CANCELLED))
        return 1;
    if (expected == JOB_RUNNING)
        /* Only a request that watches a pipe or the like will notice; for others it is too late. */
        atomic_compare_exchange_strong(&j->state, &expected, JOB_CANCELLED);
    return 0;
}

/* Let what waits for a pipe or the like end with -ECANCELED; everything else is done. */
static inline void channel_stop_waiting(channel *c)
{
    atomic_store(&c->is_closing, 1);
}

/* Let everything that no worker has taken yet, and everything that waits for a pipe or the like, end with -ECANCELED.
 * The channel is only emptied from then on. */
static inline void channel_cancel_all(channel *c)
{
    pool *p = c->pool;
    if (channel_is_dead(c))
        return;
    channel_stop_waiting(c);
    for (job *j = c->staged; j; j = j->next)
        channel_cancel(j);
    pthread_mutex_lock(&p->lock);
    for (job *j = p->head; j; j = j->next)
        if (j->channel == c)
            channel_cancel(j);
    pthread_mutex_unlock(&p->lock);
    channel_flush(c);
}

/* Take up to `limit` completions, oldest first. Read the eventfd before, not after: who completes later writes it again. */
static inline int channel_reap(channel *c, completion *out, int limit)
{
    int count = 0;
    while (count < limit) {
        if (!c->ready) {
            job *top = atomic_exchange_explicit(&c->completed, NULL, memory_order_acquire);
            for (job *next; top; top = next) { /* newest first; turn it round */
                next = top->next;
                top->next = c->ready;
                c->ready = top;
            }
            if (!c->ready)
                break;
        }
        job *j = c->ready;
        c->ready = j->next;
        out[count].user_data = j->request.user_data;
        out[count].result = j->result;
        out[count].flags = 0;
        count++;
        j->next = c->free;
        c->free = j;
        c->in_flight--;
    }
    return count;
}

/* Whether `channel_reap` would find something. */
static inline int channel_has_completions(channel *c)
{
    return c->ready || atomic_load_explicit(&c->completed, memory_order_relaxed);
}

/* The owner lets go. Requests in flight still use their buffers: reap until `in_flight` is 0 first, or never free them. */
static inline void channel_free(channel *c)
{
    if (channel_is_dead(c)) {
        close(c->eventfd); /* the child's copy; the jobs are the parent's, whose workers do not exist here */
        c->eventfd = -1;
        return; /* in-flight jobs keep their references: a few bytes stay behind in the child */
    }
    for (job *j = c->staged, *next; j; j = next) { /* never handed over */
        next = j->next;
        free(j);
        atomic_fetch_sub(&c->references, 1);
    }
    c->staged = c->staged_tail = NULL;
    channel_unreference(c);
}

#endif
