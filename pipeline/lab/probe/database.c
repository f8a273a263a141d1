#define _GNU_SOURCE
#include "database.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHECK_MS = 1000, PAUSE_MS = 1000 };

static const char *const REACHABLE = "reachable", *const UNREACHABLE = "unreachable", *const NOT_CONFIGURED = "not configured";

static char host[256], port[8];
static _Atomic(const char *) state;

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* postgresql://user:password@HOST:PORT/name?options, of which only HOST and PORT matter here. */
static int parse(const char *url)
{
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    const char *start = NULL;
    for (size_t i = 0; i < 2 && !start; i++)
        if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
            start = url + strlen(schemes[i]);
    if (!start)
        return 0;
    const char *end = start + strcspn(start, "/?#");
    const char *at = memrchr(start, '@', (size_t)(end - start));
    if (at)
        start = at + 1;

    const char *host_end;
    if (*start == '[') {                        /* an IPv6 address stands in brackets */
        start++;
        host_end = memchr(start, ']', (size_t)(end - start));
        if (!host_end)
            return 0;
    } else {
        host_end = start + strcspn(start, ":,/?#");   /* of a list of hosts, the first */
    }
    size_t host_length = (size_t)(host_end - start);
    if (host_length >= sizeof host)
        return 0;
    memcpy(host, start, host_length);
    if (host_length == 0)
        strcpy(host, "localhost");

    const char *colon = host_end + (*host_end == ']');
    strcpy(port, "5432");
    if (colon < end && *colon == ':') {
        size_t digits = strspn(colon + 1, "0123456789");
        if (digits >= sizeof port || (colon + 1 + digits != end && colon[1 + digits] != ','))
            return 0;
        if (digits > 0) {
            memcpy(port, colon + 1, digits);
            port[digits] = 0;
        }
    }
    return 1;
}

static int wait_for(int fd, short what, long deadline)
{
    struct pollfd p = {.fd = fd, .events = what};
    long left = deadline - now_ms();
    return left > 0 && poll(&p, 1, (int)left) == 1;
}

/* PostgreSQL answers an SSLRequest with one letter before any login: proof of a server that needs no password and leaves no failed login. */
static int speaks_postgresql(const struct addrinfo *address, long deadline)
{
    static const unsigned char ssl_request[8] = {0, 0, 0, 8, 4, 210, 22, 47};
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), ok = 0, error = 0;
    if (fd < 0)
        return 0;
    socklen_t size = sizeof error;
    char answer = 0;
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0
        || (errno == EINPROGRESS && wait_for(fd, POLLOUT, deadline)
            && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0))
        ok = send(fd, ssl_request, sizeof ssl_request, MSG_NOSIGNAL) == (ssize_t)sizeof ssl_request
             && wait_for(fd, POLLIN, deadline) && recv(fd, &answer, 1, 0) == 1 && (answer == 'S' || answer == 'N');
    close(fd);
    return ok;
}

static int check(void)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *addresses = NULL;
    if (getaddrinfo(host, port, &hints, &addresses) != 0)
        return 0;
    long deadline = now_ms() + CHECK_MS;
    int ok = 0;
    for (struct addrinfo *a = addresses; a && !ok; a = a->ai_next)
        ok = speaks_postgresql(a, deadline);
    freeaddrinfo(addresses);
    return ok;
}

static void *watch(void *unused)
{
    (void)unused;
    for (;;) {
        atomic_store(&state, check() ? REACHABLE : UNREACHABLE);
        usleep(PAUSE_MS * 1000);
    }
    return NULL;
}

void database_watch(const char *url)
{
    pthread_t thread;
    if (!url || !*url) {
        atomic_store(&state, NOT_CONFIGURED);
        return;
    }
    if (!parse(url)) {                          /* the value itself stays out of the log: it holds a password */
        fprintf(stderr, "DATABASE_URL is not of the form postgresql://user:password@host:port/name\n");
        atomic_store(&state, UNREACHABLE);
        return;
    }
    setenv("RES_OPTIONS", "timeout:1 attempts:2", 0);   /* a dead name server must not hold a check for half a minute */
    if (pthread_create(&thread, NULL, watch, NULL) != 0) {
        atomic_store(&state, UNREACHABLE);
        return;
    }
    pthread_detach(thread);
    for (long end = now_ms() + CHECK_MS; !atomic_load(&state) && now_ms() < end;)
        usleep(2000);
}

const char *database_state(void)
{
    const char *known = atomic_load(&state);
    return known ? known : UNREACHABLE;
}
