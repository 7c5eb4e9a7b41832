// Landlock by raw system call, with the constants of later kernels than the headers of Debian 12 know.
#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE_RULESET = 444, RESTRICT_SELF = 446 }; // the same numbers on every architecture
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

int locum_landlock_restrict(int ruleset) { return (int)syscall(RESTRICT_SELF, ruleset, 0); }
