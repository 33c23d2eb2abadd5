/* A relay in front of a server on 127.0.0.1: counts what passes, and on request delays it.
 *
 *   relay LISTEN_PORT TARGET_PORT COUNTERS ONE_WAY_MS
 *
 * COUNTERS is a file of four 64-bit numbers that the relay maps and adds to, so that a driver reads them at any time:
 * bytes to the server, bytes from the server, connections, and turns (the client spoke after the server had, or first:
 * on connections without pipelining, requests). Each connection has one thread, which reads both sides, stamps every
 * chunk with the time it is due on the other side and writes it then, in order. A new connection costs one round trip
 * more, as a TCP handshake would. Bandwidth is not limited.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024)
/* What may be under way in one direction. Without a delay little, or a connection that the client gives up would
 * have fetched far more than the client ever got; with one, 8 MiB: 800 MB/s at 10 ms. */
#define CHUNKS_WAITING (delay_ns ? 32 : 2)

enum { TO_SERVER, FROM_SERVER, CONNECTIONS, TURNS, COUNTERS };

struct chunk {
    struct chunk *next;
    int64_t due_ns;
    size_t size, done;
    char data[];
};

struct direction {
    int from, to, ended, counter, waiting;
    struct chunk *first, **last;
};

static uint64_t *counters;
static int64_t delay_ns;
static int target_port;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void count(int which, uint64_t amount) { __atomic_add_fetch(&counters[which], amount, __ATOMIC_RELAXED); }

/* Take what has arrived; 0 when the connection is broken. */
static int take(struct direction *d) {
    struct chunk *chunk = malloc(sizeof *chunk + CHUNK);
    ssize_t size = chunk ? read(d->from, chunk->data, CHUNK) : -1;
    if (size <= 0) {
        free(chunk);
        if (size < 0) return errno == EAGAIN || errno == EINTR;
        d->ended = 1;
        return 1;
    }
    struct chunk *fitted = realloc(chunk, sizeof *chunk + size);
    if (fitted) chunk = fitted;
    *chunk = (struct chunk){.due_ns = now_ns() + delay_ns, .size = size};
    *d->last = chunk;
    d->last = &chunk->next;
    d->waiting++;
    return 1;
}

/* Hand on what is due; 0 when the connection is broken. */
static int hand_on(struct direction *d) {
    while (d->first && d->first->due_ns <= now_ns()) {
        struct chunk *chunk = d->first;
        ssize_t size = write(d->to, chunk->data + chunk->done, chunk->size - chunk->done);
        if (size < 0) return errno == EAGAIN || errno == EINTR;
        count(d->counter, size);
        chunk->done += size;
        if (chunk->done < chunk->size) return 1;
        d->first = chunk->next;
        if (!d->first) d->last = &d->first;
        d->waiting--;
        free(chunk);
    }
    if (!d->first && d->ended == 1) {
        shutdown(d->to, SHUT_WR);
        d->ended = 2;
    }
    return 1;
}

static void serve(int client, int server) {
    struct direction both[2] = {{.from = client, .to = server, .counter = TO_SERVER},
                                {.from = server, .to = client, .counter = FROM_SERVER}};
    int server_spoke = 1;
    for (int i = 0; i < 2; i++) both[i].last = &both[i].first;
    while (both[0].ended < 2 || both[1].ended < 2) {
        struct pollfd fds[2] = {{.fd = client}, {.fd = server}};
        int64_t due = INT64_MAX, now = now_ns();
        for (int i = 0; i < 2; i++) {
            struct direction *d = &both[i];
            if (!d->ended && d->waiting < CHUNKS_WAITING) fds[i].events |= POLLIN;
            if (d->first && d->first->due_ns <= now) fds[!i].events |= POLLOUT;
            else if (d->first && d->first->due_ns < due) due = d->first->due_ns;
        }
        for (int i = 0; i < 2; i++)
            if (!fds[i].events) fds[i].fd = -1; /* else a hang-up of an ended side would wake us for ever */
        struct timespec wait = {0};
        if (due != INT64_MAX && due > now) {
            wait.tv_sec = (due - now) / 1000000000LL;
            wait.tv_nsec = (due - now) % 1000000000LL;
        }
        if (ppoll(fds, 2, due == INT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR) break;
        if (fds[0].revents & (POLLIN | POLLHUP | POLLERR) && !both[0].ended) {
            if (server_spoke) count(TURNS, 1);
            server_spoke = 0;
            if (!take(&both[0])) break;
        }
        if (fds[1].revents & (POLLIN | POLLHUP | POLLERR) && !both[1].ended) {
            server_spoke = 1;
            if (!take(&both[1])) break;
        }
        if (!hand_on(&both[0]) || !hand_on(&both[1])) break;
    }
    for (int i = 0; i < 2; i++)
        for (struct chunk *chunk = both[i].first, *next; chunk; chunk = next) next = chunk->next, free(chunk);
}

static void *connection(void *argument) {
    int client = (intptr_t)argument, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(target_port)};
    struct timespec handshake = {2 * delay_ns / 1000000000LL, 2 * delay_ns % 1000000000LL};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    nanosleep(&handshake, NULL);
    if (server >= 0 && !connect(server, (struct sockaddr *)&address, sizeof address)) {
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(client, F_SETFL, O_NONBLOCK);
        fcntl(server, F_SETFL, O_NONBLOCK);
        count(CONNECTIONS, 1);
        serve(client, server);
    }
    if (server >= 0) close(server);
    close(client);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: relay LISTEN_PORT TARGET_PORT COUNTERS ONE_WAY_MS\n");
        return 2;
    }
    target_port = atoi(argv[2]);
    delay_ns = (int64_t)(atof(argv[4]) * 1e6);
    int file = open(argv[3], O_RDWR | O_CREAT | O_CLOEXEC, 0644), one = 1;
    if (file < 0 || ftruncate(file, COUNTERS * sizeof *counters)) {
        perror(argv[3]);
        return 1;
    }
    counters = mmap(NULL, COUNTERS * sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counters == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) {
        perror("listen");
        return 1;
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (client < 0) continue;
        if (pthread_create(&thread, &attributes, connection, (void *)(intptr_t)client)) close(client);
    }
}
