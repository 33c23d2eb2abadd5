/* One client of a file system: repeats one operation for some seconds and prints what it cost, as JSON.
 *
 *   loadgen OPERATION SECONDS DIRECTORY SERVER_PID [CLIENTS]
 *
 * The directory holds the name space of servers/namespace.py. Beside the time, the CPU time of the server process is
 * read from its process CPU clock (nanoseconds, all threads) at the start and the end of the measured interval, here
 * and not in Python, so that both ends of the interval are the same; that of the clients is theirs and the kernel's. CLIENTS > 1 forks that many clients, which
 * start together; `us` is then the time one client saw.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL 4096
#define LARGE (128 * 1024)
#define HUGE (1024 * 1024)
#define WARM_UP_NS 50000000LL

struct client {
    const char *directory;
    char path[4096];
    int fd;
    uint64_t size;   /* of the file that is read */
    uint64_t offset; /* of the next piece that is read in order */
    char *mapping;
    uint64_t random; /* xorshift state: the same sequence for every server */
    char *buffer;
};

static int64_t now_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t)) {
        perror("loadgen: clock_gettime");
        exit(2);
    }
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(struct client *client, const char *call) {
    fprintf(stderr, "loadgen: %s %s: %s\n", call, client->path, strerror(errno));
    exit(1);
}

static uint64_t next_random(struct client *client) {
    client->random ^= client->random << 13;
    client->random ^= client->random >> 7;
    client->random ^= client->random << 17;
    return client->random;
}

static void use(struct client *client, const char *name) {
    snprintf(client->path, sizeof client->path, "%s/%s", client->directory, name);
}

static void open_path(struct client *client, int flags) {
    client->fd = open(client->path, flags);
    if (client->fd < 0) fail(client, "open");
}

static void prepare_name(struct client *client) { use(client, "file"); }

static void prepare_read(struct client *client) {
    struct stat status;
    use(client, "file");
    open_path(client, O_RDONLY);
    if (fstat(client->fd, &status)) fail(client, "fstat");
    client->size = status.st_size;
}

static void prepare_write(struct client *client) {
    use(client, "target");
    open_path(client, O_WRONLY);
    client->size = 4 << 20;
}

static void prepare_new(struct client *client) {
    char name[64];
    snprintf(name, sizeof name, "new-%d", (int)getpid());
    use(client, name);
}

static void prepare_cold(struct client *client) {
    struct stat status;
    use(client, "buffered");
    open_path(client, O_RDONLY);
    if (fstat(client->fd, &status)) fail(client, "fstat");
    client->size = status.st_size;
    client->offset = client->size; /* so that the first piece drops what is cached */
}

static void map(struct client *client) {
    client->mapping = mmap(NULL, client->size, PROT_READ, MAP_SHARED, client->fd, 0);
    if (client->mapping == MAP_FAILED) fail(client, "mmap");
}

static void prepare_mapping(struct client *client) {
    prepare_cold(client);
    map(client);
}

static void prepare_many(struct client *client) { use(client, "many"); }

static void do_stat(struct client *client) {
    struct stat status;
    if (stat(client->path, &status)) fail(client, "stat");
}

static void do_fstat(struct client *client) {
    struct stat status;
    if (fstat(client->fd, &status)) fail(client, "fstat");
}

static void do_open_close(struct client *client) {
    int fd = open(client->path, O_RDONLY);
    if (fd < 0) fail(client, "open");
    close(fd);
}

static void do_create_unlink(struct client *client) {
    int fd = open(client->path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0) fail(client, "create");
    close(fd);
    if (unlink(client->path)) fail(client, "unlink");
}

static void read_somewhere(struct client *client, size_t size) {
    uint64_t offset = next_random(client) % (client->size / size) * size;
    if (pread(client->fd, client->buffer, size, offset) != (ssize_t)size) fail(client, "pread");
}

static void write_somewhere(struct client *client, size_t size) {
    uint64_t offset = next_random(client) % (client->size / size) * size;
    if (pwrite(client->fd, client->buffer, size, offset) != (ssize_t)size) fail(client, "pwrite");
}

static void do_read_small(struct client *client) { read_somewhere(client, SMALL); }
static void do_read_large(struct client *client) { read_somewhere(client, LARGE); }
static void do_read_huge(struct client *client) { read_somewhere(client, HUGE); }
static void do_write_small(struct client *client) { write_somewhere(client, SMALL); }
static void do_write_large(struct client *client) { write_somewhere(client, LARGE); }
static void do_write_huge(struct client *client) { write_somewhere(client, HUGE); }

static void drop_cache(struct client *client) {
    if (client->offset < client->size) return;
    client->offset = 0;
    if (client->mapping && munmap(client->mapping, client->size)) fail(client, "munmap");
    if (posix_fadvise(client->fd, 0, 0, POSIX_FADV_DONTNEED)) fail(client, "posix_fadvise");
    if (client->mapping) map(client);
}

static void read_next(struct client *client, size_t size) {
    drop_cache(client);
    if (pread(client->fd, client->buffer, size, client->offset) != (ssize_t)size) fail(client, "pread");
    client->offset += size;
}

static void do_cold_large(struct client *client) { read_next(client, LARGE); }
static void do_cold_huge(struct client *client) { read_next(client, HUGE); }

static void do_map_cold(struct client *client) {
    drop_cache(client);
    client->buffer[0] += *(volatile char *)(client->mapping + client->offset);
    client->offset += LARGE;
}

static void do_map_warm(struct client *client) {
    uint64_t offset = next_random(client) % (client->size / LARGE) * LARGE;
    memcpy(client->buffer, client->mapping + offset, LARGE);
}

static void do_readdir(struct client *client) {
    DIR *stream = opendir(client->path);
    struct dirent *entry;
    long names = 0;
    if (!stream) fail(client, "opendir");
    errno = 0;
    while ((entry = readdir(stream)))
        if (entry->d_name[0] != '.') names++;
    if (errno) fail(client, "readdir");
    closedir(stream);
    if (names != 10000) {
        fprintf(stderr, "loadgen: %s listed %ld names, expected 10000\n", client->path, names);
        exit(1);
    }
}

static const struct operation {
    const char *name;
    void (*prepare)(struct client *);
    void (*run)(struct client *);
} operations[] = {
    {"stat", prepare_name, do_stat},
    {"fstat", prepare_read, do_fstat},
    {"open_close", prepare_name, do_open_close},
    {"create_unlink", prepare_new, do_create_unlink},
    {"read_4k", prepare_read, do_read_small},
    {"read_128k", prepare_read, do_read_large},
    {"read_1m", prepare_read, do_read_huge},
    {"write_4k", prepare_write, do_write_small},
    {"write_128k", prepare_write, do_write_large},
    {"write_1m", prepare_write, do_write_huge},
    {"cold_128k", prepare_cold, do_cold_large},
    {"cold_1m", prepare_cold, do_cold_huge},
    {"map_cold", prepare_mapping, do_map_cold},
    {"map_warm", prepare_mapping, do_map_warm},
    {"readdir_10k", prepare_many, do_readdir},
};

struct shared {
    uint64_t done[64];
    int64_t cpu[64]; /* of the client itself, the kernel's work for it included */
    int ready;
    int go;
};

/* Repeat until `deadline`; looking at the clock once an operation costs 0.03 µs. */
static uint64_t repeat(const struct operation *operation, struct client *client, int64_t deadline) {
    uint64_t count = 0;
    while (now_ns(CLOCK_MONOTONIC) < deadline) {
        operation->run(client);
        count++;
    }
    return count;
}

int main(int argc, char **argv) {
    const struct operation *operation = NULL;
    if (argc < 5) {
        fprintf(stderr, "usage: loadgen OPERATION SECONDS DIRECTORY SERVER_PID [CLIENTS]\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (!strcmp(operations[i].name, argv[1])) operation = &operations[i];
    if (!operation) {
        fprintf(stderr, "loadgen: unknown operation %s\n", argv[1]);
        return 2;
    }
    int64_t interval = (int64_t)(atof(argv[2]) * 1e9);
    int clients = argc > 5 ? atoi(argv[5]) : 1;
    if (clients < 1 || clients > 64) {
        fprintf(stderr, "loadgen: %d clients; 1 to 64 are possible\n", clients);
        return 2;
    }
    clockid_t server_clock;
    if (clock_getcpuclockid(atoi(argv[4]), &server_clock)) {
        fprintf(stderr, "loadgen: no process %s\n", argv[4]);
        return 2;
    }
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("loadgen: mmap");
        return 2;
    }
    for (int i = 0; i < clients; i++) {
        pid_t child = fork();
        if (child < 0) {
            perror("loadgen: fork");
            return 2;
        }
        if (child) continue;
        struct client client = {.directory = argv[3], .fd = -1, .random = 88172645463325252ULL + i};
        if (posix_memalign((void **)&client.buffer, 4096, HUGE)) return 2;
        memset(client.buffer, 'w', HUGE);
        operation->prepare(&client);
        operation->run(&client);
        repeat(operation, &client, now_ns(CLOCK_MONOTONIC) + WARM_UP_NS);
        __atomic_add_fetch(&shared->ready, 1, __ATOMIC_SEQ_CST);
        while (!__atomic_load_n(&shared->go, __ATOMIC_SEQ_CST)) usleep(500);
        int64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        shared->done[i] = repeat(operation, &client, now_ns(CLOCK_MONOTONIC) + interval);
        shared->cpu[i] = now_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
        _exit(0);
    }
    while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) < clients) {
        int status;
        if (waitpid(-1, &status, WNOHANG) > 0) return 1; /* it said why */
        usleep(500);
    }
    int64_t cpu = now_ns(server_clock), start = now_ns(CLOCK_MONOTONIC);
    __atomic_store_n(&shared->go, 1, __ATOMIC_SEQ_CST);
    int bad = 0, status;
    for (int i = 0; i < clients; i++) bad |= wait(&status) < 0 || status;
    if (bad) return 1;
    double elapsed = now_ns(CLOCK_MONOTONIC) - start;
    cpu = now_ns(server_clock) - cpu;
    uint64_t total = 0;
    int64_t client_cpu = 0;
    for (int i = 0; i < clients; i++) total += shared->done[i], client_cpu += shared->cpu[i];
    printf("{\"operations\": %llu, \"seconds\": %.6f, \"us\": %.3f, \"server_cpu_us\": %.3f, \"client_cpu_us\": %.3f}\n",
           (unsigned long long)total, elapsed / 1e9, elapsed / 1e3 * clients / total, cpu / 1e3 / total,
           client_cpu / 1e3 / total);
    return 0;
}
