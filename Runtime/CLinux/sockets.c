#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_FDS = 253 }; // SCM_MAX_FD of the kernel

int locum_seqpacket_pair(int ends[2]) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends); }

ssize_t locum_send(int socket, const void *bytes, size_t length, const int *fds, int count, int flags) {
    union {
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count < 0 || count > MAX_FDS) {
        errno = EINVAL;
        return -1;
    }
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(head), fds, sizeof(int) * (size_t)count);
    }
    for (;;) {
        ssize_t sent = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
        if (sent >= 0 || errno != EINTR) return sent;
    }
}

// ECONNRESET is said once, before what the peer had sent, when it ended with something of ours unread. Its
// last words count; after them comes the end of the file.
static ssize_t receive(int socket, struct msghdr *message, int flags) {
    for (;;) {
        ssize_t got = recvmsg(socket, message, flags);
        if (got >= 0 || (errno != EINTR && errno != ECONNRESET)) return got;
    }
}

ssize_t locum_message_length(int socket, int flags) {
    struct msghdr message = {0};
    return receive(socket, &message, flags | MSG_PEEK | MSG_TRUNC);
}

ssize_t locum_receive(int socket, void *bytes, size_t length, int *fds, int *count, bool *truncated, int flags) {
    union {
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    int capacity = *count;
    *count = 0;
    *truncated = false;
    // Room for the kernel's maximum even when the caller wants none: a descriptor that nobody asked for
    // is then closed here instead of being dropped half-way.
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    ssize_t got = receive(socket, &message, flags | MSG_CMSG_CLOEXEC);
    if (got < 0) return got;
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) *truncated = true;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        size_t n = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof fd);
            if (*count < capacity) {
                fds[(*count)++] = fd;
            } else {
                close(fd);
                *truncated = true;
            }
        }
    }
    return got;
}

static int address(const char *path, struct sockaddr_un *out) {
    memset(out, 0, sizeof *out);
    out->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof out->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(out->sun_path, path);
    return 0;
}

int locum_unix_listen(const char *path, int type, int backlog, mode_t mode) {
    struct sockaddr_un to;
    if (address(path, &to) < 0) return -1;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    // The mode is set by the umask of bind itself, so that there is no moment with a wider one.
    mode_t old = umask(0777 & ~mode);
    int bound = bind(fd, (struct sockaddr *)&to, sizeof to);
    umask(old);
    if (bound < 0 || listen(fd, backlog) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

int locum_unix_connect(const char *path, int type) {
    struct sockaddr_un to;
    if (address(path, &to) < 0) return -1;
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

int locum_accept(int socket) { return accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }

int locum_peer(int socket, pid_t *pid, uid_t *uid, gid_t *gid) {
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) return -1;
    *pid = who.pid;
    *uid = who.uid;
    *gid = who.gid;
    return 0;
}

int locum_peer_has_group(int socket, gid_t group) {
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) return -1;
    if (who.gid == group) return 1;
    gid_t few[64];
    gid_t *groups = few;
    size = sizeof few;
    int got = getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size);
    // The kernel has said how much room it takes.
    if (got < 0 && errno == ERANGE) {
        if (!(groups = malloc(size))) return -1;
        got = getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size);
    }
    int has = got < 0 ? -1 : 0;
    for (size_t i = 0; has == 0 && i < size / sizeof *groups; i++) has = groups[i] == group;
    if (groups != few) free(groups);
    return has;
}

int locum_set_buffers(int socket, int bytes) {
    if (setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) < 0) return -1;
    return setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

int locum_set_receive_timeout(int socket, int milliseconds) {
    struct timeval wait = {.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000};
    return setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
}
