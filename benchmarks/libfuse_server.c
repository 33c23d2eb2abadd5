/* The name space of servers/namespace.py served by libfuse's low-level interface from one thread: what C reaches.
 *
 *   libfuse_server MOUNTPOINT
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MANY 10000
#define NEW 64 /* files that the load generator may have at a time */
#define BLOCK (1 << 20)
#define TARGET_SIZE (4 << 20)

enum { ROOT = 1, FILE_INO, TARGET, BUFFERED, DIRECTORY, FIRST_OF_MANY, FIRST_NEW = FIRST_OF_MANY + MANY };

static char block[BLOCK], target[TARGET_SIZE];
static char new_names[NEW][64]; /* "" is a free place; numbers are used again, with another generation */
static unsigned generation;

static struct stat attributes_of(fuse_ino_t ino) {
    struct stat st = {.st_ino = ino, .st_nlink = 1, .st_mode = S_IFREG | 0644, .st_blksize = 4096};
    if (ino == ROOT || ino == DIRECTORY) st.st_mode = S_IFDIR | 0755;
    if (ino == FILE_INO || ino == BUFFERED) st.st_size = 256 << 20;
    if (ino == TARGET) st.st_size = TARGET_SIZE;
    st.st_blocks = (st.st_size + 511) / 512;
    return st;
}

static int find_new(const char *name) {
    for (int i = 0; i < NEW; i++)
        if (!strcmp(new_names[i], name)) return i;
    return -1;
}

static fuse_ino_t find(fuse_ino_t parent, const char *name) {
    int number;
    if (parent == DIRECTORY && sscanf(name, "n%5d", &number) == 1 && number < MANY) return FIRST_OF_MANY + number;
    if (parent != ROOT) return 0;
    if (!strcmp(name, "file")) return FILE_INO;
    if (!strcmp(name, "target")) return TARGET;
    if (!strcmp(name, "buffered")) return BUFFERED;
    if (!strcmp(name, "many")) return DIRECTORY;
    number = find_new(name);
    return number < 0 ? 0 : FIRST_NEW + number;
}

static struct fuse_entry_param entry_of(fuse_ino_t ino) {
    return (struct fuse_entry_param){.ino = ino, .generation = generation, .attr = attributes_of(ino)};
}

static void do_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    fuse_ino_t ino = find(parent, name);
    if (!ino) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    struct fuse_entry_param entry = entry_of(ino);
    fuse_reply_entry(request, &entry);
}

static void do_getattr(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    (void)file;
    struct stat st = attributes_of(ino);
    fuse_reply_attr(request, &st, 0);
}

static void do_setattr(fuse_req_t request, fuse_ino_t ino, struct stat *wanted, int valid, struct fuse_file_info *file) {
    (void)wanted, (void)valid;
    do_getattr(request, ino, file);
}

static void do_open(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    file->fh = ino;
    file->direct_io = ino != BUFFERED;
    fuse_reply_open(request, file);
}

static void do_release(fuse_req_t request, fuse_ino_t ino, struct fuse_file_info *file) {
    (void)ino, (void)file;
    fuse_reply_err(request, 0);
}

static void do_read(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file) {
    (void)ino, (void)offset, (void)file;
    fuse_reply_buf(request, block, size < BLOCK ? size : BLOCK);
}

static void do_write(fuse_req_t request, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *file) {
    (void)file;
    if (ino != TARGET || offset < 0 || offset + size > TARGET_SIZE) {
        fuse_reply_err(request, ENOSPC);
        return;
    }
    memcpy(target + offset, data, size);
    fuse_reply_write(request, size);
}

static void do_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file) {
    int number = find_new("");
    (void)mode;
    if (parent != ROOT || number < 0 || strlen(name) >= sizeof new_names[0]) {
        fuse_reply_err(request, ENOSPC);
        return;
    }
    strcpy(new_names[number], name);
    generation++;
    file->fh = FIRST_NEW + number;
    file->direct_io = 1;
    struct fuse_entry_param entry = entry_of(FIRST_NEW + number);
    fuse_reply_create(request, &entry, file);
}

static void do_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
    int number = parent == ROOT ? find_new(name) : -1;
    if (number >= 0) new_names[number][0] = 0;
    fuse_reply_err(request, number < 0 ? ENOENT : 0);
}

static void list(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, int plus) {
    char *buffer = malloc(size), name[16];
    size_t used = 0;
    if (!buffer) {
        fuse_reply_err(request, ENOMEM);
        return;
    }
    for (; ino == DIRECTORY && offset < MANY; offset++) {
        struct fuse_entry_param entry = entry_of(FIRST_OF_MANY + offset);
        snprintf(name, sizeof name, "n%05d", (int)offset);
        size_t needed = plus ? fuse_add_direntry_plus(request, buffer + used, size - used, name, &entry, offset + 1)
                             : fuse_add_direntry(request, buffer + used, size - used, name, &entry.attr, offset + 1);
        if (needed > size - used) break;
        used += needed;
    }
    fuse_reply_buf(request, buffer, used);
    free(buffer);
}

static void do_readdir(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file) {
    (void)file;
    list(request, ino, size, offset, 0);
}

static void do_readdirplus(fuse_req_t request, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *file) {
    (void)file;
    list(request, ino, size, offset, 1);
}

int main(int argc, char **argv) {
    const struct fuse_lowlevel_ops operations = {
        .lookup = do_lookup, .getattr = do_getattr, .setattr = do_setattr, .open = do_open,
        .release = do_release, .read = do_read, .write = do_write, .create = do_create,
        .unlink = do_unlink, .readdir = do_readdir, .readdirplus = do_readdirplus,
    };
    char *options[] = {argv[0], "-o", "fsname=benchmark"};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, options);
    if (argc != 2) {
        fprintf(stderr, "usage: libfuse_server MOUNTPOINT\n");
        return 2;
    }
    for (size_t i = 0; i < BLOCK; i++) block[i] = i;
    struct fuse_session *session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
    if (!session || fuse_session_mount(session, argv[1])) return 1;
    int status = fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return status ? 1 : 0;
}
