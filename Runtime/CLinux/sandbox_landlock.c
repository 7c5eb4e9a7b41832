// Landlock by raw system call, with the constants of later kernels than the headers of Debian 12 know.
#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446 }; // the same numbers on every architecture
struct ruleset {
    uint64_t fs;     // since 1: 13 rights, 2: refer, 3: truncate, 5: ioctl on devices
    uint64_t net;    // since 4: bind and connect TCP
    uint64_t scoped; // since 6: abstract unix sockets and signals stay inside
};

int locum_landlock_version(void) { return (int)syscall(CREATE_RULESET, NULL, 0, 1 /* ..._VERSION */); }

int locum_landlock_ruleset(int version) {
    int rights = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;
    struct ruleset all = {
        .fs = (1ull << rights) - 1,
        .net = version >= 4 ? 3 : 0,
        .scoped = version >= 6 ? 3 : 0,
    };
    size_t size = version >= 6 ? sizeof all : version >= 4 ? 16 : 8;
    return (int)syscall(CREATE_RULESET, &all, size, 0); // close-on-exec by itself
}

// Rights on files, by bit.
enum {
    WRITE_FILE = 1 << 1,
    READ_FILE = 1 << 2,
    READ_FOLDER = 1 << 3,
    REMOVE = 1 << 4 | 1 << 5, // folders, files
    MAKE = 1 << 7 | 1 << 8 | 1 << 9, // folders, files, sockets
    TRUNCATE = 1 << 14, // since version 3
};

int locum_landlock_allow(int ruleset, int version, int fd, bool writing) {
    struct stat information;
    if (fstat(fd, &information) < 0) return -1;
    struct {
        uint64_t rights;
        int32_t fd;
    } __attribute__((packed)) rule = {.rights = READ_FILE, .fd = fd};
    if (writing) rule.rights |= WRITE_FILE | (version >= 3 ? TRUNCATE : 0);
    if (S_ISDIR(information.st_mode)) rule.rights |= READ_FOLDER | (writing ? REMOVE | MAKE : 0);
    return (int)syscall(ADD_RULE, ruleset, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0);
}

int locum_landlock_allow_port(int ruleset, int version, uint16_t port) {
    if (version < 4) return 0;
    struct {
        uint64_t rights, port;
    } rule = {.rights = 1 /* LANDLOCK_ACCESS_NET_BIND_TCP */, .port = port};
    return (int)syscall(ADD_RULE, ruleset, 2 /* LANDLOCK_RULE_NET_PORT */, &rule, 0);
}

int locum_landlock_restrict(int ruleset) { return (int)syscall(RESTRICT_SELF, ruleset, 0); }
