/* Makes one system call of a process fail, for the tests of failing calls: a library to be preloaded (ld.so(8)).

The test names the line of adsum that each thread executes (`failing_calls_at`), and may arm one failure: the next call
of a certain function, made while a thread executes a certain line. Without a failure it notes which functions are called
from which lines. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>

#define SITES 8192

enum call { OPEN, SOCKET, CONNECT, SEND, RECV, RECVMSG, POLL, EPOLL_CREATE, EPOLL_CTL, EPOLL_WAIT, EVENTFD, READ, WRITE,
            FSTAT, STAT, LSTAT, MKDIR, FLOCK, MMAP, PIPE, THREAD, PIDFD, ACCEPT, SENDMSG, BIND, RENAME, UNLINK, LINK,
            FALLOCATE, FTRUNCATE, STATVFS, CALLS };

static __thread int site;
static int armed_site, armed_call = -1, armed_errno;
static unsigned char seen[SITES][CALLS];

void failing_calls_at(int line) { site = line < SITES ? line : 0; }
void failing_calls_arm(int line, int call, int code) { armed_site = line; armed_errno = code; armed_call = call; }
int failing_calls_armed(void) { return armed_call >= 0; }
int failing_calls_seen(int line, int call) { return seen[line][call]; }

static int fails(enum call call) {
    if (!site) return 0;
    seen[site][call] = 1;
    if (armed_call != (int)call || armed_site != site) return 0;
    armed_call = -1;
    errno = armed_errno;
    return 1;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })
#define WRAP(call, result, name, parameters, arguments) \
    result name parameters { return fails(call) ? (result)-1 : REAL(name) arguments; }
#define WRAP_OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
        return fails(OPEN) ? -1 : REAL(name)(path, flags, mode); }

int eventfd(unsigned, int);
int flock(int, int);
ssize_t read(int, void *, size_t);
ssize_t write(int, const void *, size_t);
int pipe2(int[2], int);
int accept4(int, struct sockaddr *, socklen_t *, int);
int rename(const char *, const char *);
int unlink(const char *);
int link(const char *, const char *);
int ftruncate(int, off_t);
int ftruncate64(int, off64_t);
void *mmap(void *, size_t, int, int, int, off_t);
void *mmap64(void *, size_t, int, int, int, off64_t);
long syscall(long, ...);

WRAP_OPEN(open)
WRAP_OPEN(open64)
WRAP(SOCKET, int, socket, (int a, int b, int c), (a, b, c))
WRAP(CONNECT, int, connect, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
WRAP(SEND, ssize_t, send, (int a, const void *b, size_t c, int d), (a, b, c, d))
WRAP(RECV, ssize_t, recv, (int a, void *b, size_t c, int d), (a, b, c, d))
WRAP(RECVMSG, ssize_t, recvmsg, (int a, struct msghdr *b, int c), (a, b, c))
WRAP(POLL, int, poll, (struct pollfd *a, nfds_t b, int c), (a, b, c))
WRAP(EPOLL_CREATE, int, epoll_create1, (int a), (a))
WRAP(EPOLL_WAIT, int, epoll_wait, (int a, struct epoll_event *b, int c, int d), (a, b, c, d))
WRAP(EVENTFD, int, eventfd, (unsigned a, int b), (a, b))
WRAP(READ, ssize_t, read, (int a, void *b, size_t c), (a, b, c))
WRAP(WRITE, ssize_t, write, (int a, const void *b, size_t c), (a, b, c))
WRAP(FSTAT, int, fstat, (int a, struct stat *b), (a, b))
WRAP(FSTAT, int, fstat64, (int a, struct stat64 *b), (a, b))
WRAP(STAT, int, stat, (const char *restrict a, struct stat *restrict b), (a, b))
WRAP(STAT, int, stat64, (const char *restrict a, struct stat64 *restrict b), (a, b))
WRAP(LSTAT, int, lstat, (const char *restrict a, struct stat *restrict b), (a, b))
WRAP(LSTAT, int, lstat64, (const char *restrict a, struct stat64 *restrict b), (a, b))
WRAP(MKDIR, int, mkdir, (const char *a, mode_t b), (a, b))
WRAP(FLOCK, int, flock, (int a, int b), (a, b))
WRAP(MMAP, void *, mmap, (void *a, size_t b, int c, int d, int e, off_t f), (a, b, c, d, e, f))
WRAP(MMAP, void *, mmap64, (void *a, size_t b, int c, int d, int e, off64_t f), (a, b, c, d, e, f))
WRAP(PIPE, int, pipe2, (int a[2], int b), (a, b))
WRAP(ACCEPT, int, accept4, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d))
WRAP(SENDMSG, ssize_t, sendmsg, (int a, const struct msghdr *b, int c), (a, b, c))
WRAP(BIND, int, bind, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
WRAP(RENAME, int, rename, (const char *a, const char *b), (a, b))
WRAP(UNLINK, int, unlink, (const char *a), (a))
WRAP(LINK, int, link, (const char *a, const char *b), (a, b))
WRAP(FTRUNCATE, int, ftruncate, (int a, off_t b), (a, b))
WRAP(FTRUNCATE, int, ftruncate64, (int a, off64_t b), (a, b))
WRAP(STATVFS, int, fstatvfs, (int a, struct statvfs *b), (a, b))
WRAP(STATVFS, int, fstatvfs64, (int a, struct statvfs64 *b), (a, b))
WRAP(STATVFS, int, statvfs, (const char *a, struct statvfs *b), (a, b))
WRAP(STATVFS, int, statvfs64, (const char *a, struct statvfs64 *b), (a, b))

/* It returns the error. */
int posix_fallocate(int a, off_t b, off_t c) { return fails(FALLOCATE) ? errno : REAL(posix_fallocate)(a, b, c); }
int posix_fallocate64(int a, off64_t b, off64_t c) { return fails(FALLOCATE) ? errno : REAL(posix_fallocate64)(a, b, c); }

/* To remove a descriptor takes no memory. */
int epoll_ctl(int a, int operation, int b, struct epoll_event *c) {
    return operation == EPOLL_CTL_ADD && fails(EPOLL_CTL) ? -1 : REAL(epoll_ctl)(a, operation, b, c);
}

int pthread_create(pthread_t *a, const pthread_attr_t *b, void *(*c)(void *), void *d) {
    return fails(THREAD) ? errno : REAL(pthread_create)(a, b, c, d);
}

long syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    return number == SYS_pidfd_open && fails(PIDFD) ? -1 : REAL(syscall)(number, a, b, c, d, e, f);
}
