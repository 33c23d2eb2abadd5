/* Load for the pool of threads (src/aiovfs/aio/engines/pool.h), to be built with a sanitizer: see tools/check_pool.py.
 *
 *     pool_stress ROUNDS FILE
 *
 * Several owners, each in a thread with a channel of its own, give the same pool reads, no-ops and reads of empty
 * pipes, cancel some of them, collect completions in pieces, and let go of channels with requests in flight. Every
 * request has to end exactly once, with a result that it can have, and every buffer is freed once it has.
 */
#include "aiovfs/aio/engines/pool.h"

#include <stdio.h>

#define OWNERS 4
#define MOST 64

static const char *path;
static int rounds;

typedef struct slot {
    char *buffer;
    job *job;
    int is_open, is_cancelled, is_pipe;
} slot;

static void fail(const char *what, long value)
{
    fprintf(stderr, "pool_stress: %s (%ld)\n", what, value);
    abort();
}

static int collect(channel *c, slot *slots, int limit)
{
    completion done[MOST];
    int count = channel_reap(c, done, limit);
    for (int i = 0; i < count; i++) {
        slot *s = &slots[done[i].user_data];
        int32_t result = done[i].result;
        if (!s->is_open)
            fail("a request ended twice", (long)done[i].user_data);
        if (result < 0 && !(result == -ECANCELED && s->is_cancelled))
            fail("a request failed", result);
        if (s->buffer && result > 0 && !s->is_pipe && s->buffer[0] != 'x')
            fail("a read returned something else", s->buffer[0]);
        free(s->buffer);
        memset(s, 0, sizeof *s);
    }
    return count;
}

static void *own(void *argument)
{
    pool *p = argument;
    unsigned seed = (unsigned)(uintptr_t)pthread_self();
    int fd = open(path, O_RDWR), pipes[2];
    if (fd < 0 || pipe(pipes) < 0)
        fail("open", errno);
    for (int round = 0; round < rounds; round++) {
        channel *c = channel_new(p);
        slot slots[MOST];
        memset(slots, 0, sizeof slots);
        if (!c)
            fail("channel_new", errno);
        for (int burst = 0; burst < 8; burst++) {
            for (int i = 0; i < MOST; i++) {
                slot *s = &slots[i];
                request r;
                if (s->is_open)
                    continue;
                memset(&r, 0, sizeof r);
                r.user_data = (uint64_t)i;
                r.fd = fd;
                s->is_open = 1;
                switch (rand_r(&seed) % 6) {
                case 0:
                    r.opcode = REQUEST_NOP;
                    break;
                case 1:
                    s->buffer = malloc(8);
                    s->is_pipe = s->is_cancelled = 1; /* nobody writes: it ends by being cancelled */
                    r.opcode = REQUEST_READ;
                    r.fd = pipes[0];
                    r.addr = (uint64_t)(uintptr_t)s->buffer;
                    r.len = 8;
                    break;
                default:
                    s->buffer = malloc(4096);
                    r.opcode = REQUEST_READ;
                    r.addr = (uint64_t)(uintptr_t)s->buffer;
                    r.len = 4096;
                    r.off = (uint64_t)(rand_r(&seed) % 16) * 4096;
                }
                if (!(s->job = channel_push(c, &r)))
                    fail("channel_push", errno);
            }
            if (channel_flush(c) < 0)
                fail("channel_flush", errno);
            for (int i = 0; i < MOST; i++)
                if (slots[i].is_open && (slots[i].is_pipe || rand_r(&seed) % 8 == 0)) {
                    slots[i].is_cancelled = 1;
                    channel_cancel(slots[i].job);
                }
            uint64_t count;
            struct pollfd ready = {.fd = c->eventfd, .events = POLLIN};
            if (!channel_has_completions(c)) {
                if (poll(&ready, 1, 20000) != 1)
                    fail("nothing completed", c->in_flight);
                if (read(c->eventfd, &count, sizeof count) < 0)
                    fail("eventfd", errno);
            }
            collect(c, slots, 1 + rand_r(&seed) % MOST);
        }
        for (int i = 0; i < MOST; i++)
            slots[i].is_cancelled = 1;
        channel_cancel_all(c);
        while (c->in_flight)
            if (!collect(c, slots, MOST)) {
                uint64_t count;
                struct pollfd ready = {.fd = c->eventfd, .events = POLLIN};
                if (poll(&ready, 1, 20000) != 1)
                    fail("requests did not end", c->in_flight);
                if (read(c->eventfd, &count, sizeof count) < 0)
                    fail("eventfd", errno);
            }
        for (int i = 0; i < MOST; i++)
            if (slots[i].is_open)
                fail("a request never ended", i);
        channel_free(c);
    }
    close(fd);
    close(pipes[0]);
    close(pipes[1]);
    return NULL;
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: pool_stress ROUNDS FILE\n");
        return 2;
    }
    rounds = atoi(arguments[1]);
    path = arguments[2];
    for (int which = 0; which < 2; which++) {
        pool *p = which ? pool_shared(0) : pool_new(3);
        pthread_t owners[OWNERS];
        for (int i = 0; i < OWNERS; i++)
            pthread_create(&owners[i], NULL, own, p);
        for (int i = 0; i < OWNERS; i++)
            pthread_join(owners[i], NULL);
        if (!which)
            pool_end(p);
    }
    printf("%d rounds of %d owners: every request ended once\n", rounds, OWNERS);
    return 0;
}
