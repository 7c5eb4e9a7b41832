// Loading a compiled filter. The filter is made elsewhere (module NodeAgent, by libseccomp) and arrives as
// bytes: the process that loads it links no compiler.
#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

int locum_seccomp_load(const void *instructions, uint16_t count) {
    struct sock_fprog program = {.len = count, .filter = (struct sock_filter *)instructions};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    if (result > 0) { // the id of a thread that could not follow: then none has the filter
        errno = EBUSY;
        return -1;
    }
    return (int)result;
}

bool locum_seccomp_can_kill_process(void) {
    uint32_t action = SECCOMP_RET_KILL_PROCESS;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}
