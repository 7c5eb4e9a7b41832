// The root folder of everything sandboxed: a tmpfs that is read-only, has no room and one inode, its own root.
#define _GNU_SOURCE
#include "CLinux.h"
#include <dirent.h>
#include <errno.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STEP(words, call) \
    do { \
        *stage = words; \
        if ((call) < 0) return -1; \
    } while (0)

int locum_empty_root(const char **stage) {
    // Nothing mounted here may ever show on the host, nor the other way.
    STEP("make all mounts private", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    // /proc is a folder on every host, and hiding it under the new root costs nothing: the old tree goes.
    unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    STEP("mount an empty file system", mount("empty", "/proc", "tmpfs", flags, "size=4k,nr_inodes=1,mode=0555"));
    STEP("enter the empty file system", chdir("/proc"));
    // pivot_root(".", "."): the old root then lies over the new one and "." is the old root.
    STEP("pivot_root", syscall(SYS_pivot_root, ".", "."));
    STEP("detach the old root", umount2(".", MNT_DETACH));
    STEP("enter the new root", chdir("/"));
    STEP("make the root read-only", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL));
    return 0;
}

int locum_set_hostname(const char *name) {
    size_t length = 0;
    while (name[length]) length++;
    return sethostname(name, length);
}

int locum_thread_count(void) {
    DIR *folder = opendir("/proc/self/task");
    if (!folder) return -1;
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}
