/* The probe: a small HTTP service that stands in for a production server of IHP, with the same name, port and environment.
 *
 *   /         a page that shows what runs here
 *   /healthz  may this pod get traffic? 503 while it drains and while its database does not answer
 *   /livez    does the program still run? 200 to the end: a database that is away is no reason to restart anything
 *
 * One thread, one poll loop; every connection carries one request and has a deadline. When all places are taken the connection
 * that has waited longest goes, so slow peers cannot lock the health checks out. */
#define _GNU_SOURCE
#include "database.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PLACES = 256, REQUEST_MAX = 8192, ANSWER_MAX = 8192, PEER_MS = 5000, LINGER_MS = 1000, SECRET_BYTES = 32 };

typedef struct {
    int fd;
    enum { READING, WRITING, LINGERING } state;
    long deadline;
    size_t used, sent, size;
    char request[REQUEST_MAX], answer[ANSWER_MAX];
} Peer;

static Peer peers[PLACES];
static int draining;
static long last_asked;                         /* when the last request came that was not for its health */
static char version[256], commit[256], base_url[512], pod[256];

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- text -------------------------------------------------------------------------------------------------------------------- */

/* Both escapes in one: what neither JSON nor HTML needs escaped passes; the rest becomes \u00XX or &#NN;. UTF-8 passes. */
static const char *escaped(char out[2048], const char *in, const char *format)
{
    size_t used = 0;
    for (; *in && used < 2040; in++) {
        unsigned char c = (unsigned char)*in;
        if (c < 32 || c == 127 || strchr("\"\\<>&'", c))
            used += (size_t)sprintf(out + used, format, c);
        else
            out[used++] = (char)c;
    }
    out[used] = 0;
    return out;
}

static void reply(Peer *peer, int head_only, const char *status, const char *type, const char *body)
{
    size_t length = strlen(body);
    int n = snprintf(peer->answer, sizeof peer->answer,
                     "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n%sConnection: close\r\n\r\n%s",
                     status, type, length, strncmp(status, "405", 3) == 0 ? "Allow: GET, HEAD\r\n" : "", head_only ? "" : body);
    peer->size = n < (int)sizeof peer->answer ? (size_t)n : sizeof peer->answer - 1;
    peer->state = WRITING;
    peer->deadline = now_ms() + PEER_MS;
}

static void reply_error(Peer *peer, const char *status)
{
    char body[64];
    snprintf(body, sizeof body, "%s\n", status + 4);
    reply(peer, 0, status, "text/plain", body);
}

static void reply_health(Peer *peer, int head_only)
{
    char body[7168], v[2048], c[2048], u[2048];
    const char *database = database_state(), *json = "\\u%04x";
    const char *status = draining ? "draining" : strcmp(database, "unreachable") == 0 ? "unavailable" : "ok";
    snprintf(body, sizeof body, "{\"status\":\"%s\",\"version\":\"%s\",\"commit\":\"%s\",\"baseUrl\":\"%s\",\"database\":\"%s\"}\n", status,
             escaped(v, version, json), escaped(c, commit, json), escaped(u, base_url, json), database);
    reply(peer, head_only, strcmp(status, "ok") == 0 ? "200 OK" : "503 Service Unavailable", "application/json", body);
}

static void reply_page(Peer *peer, int head_only)
{
    char body[7168], v[2048], c[2048], p[2048];
    const char *html = "&#%d;";
    snprintf(body, sizeof body,
             "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>It works</title>"
             "<style>body{font:18px/1.6 system-ui;max-width:34em;margin:15vh auto;padding:0 1em}code{background:#eee;padding:.1em .4em}</style>"
             "<h1>It works</h1><p>Version <code>%s</code>, commit <code>%s</code>, served by <code>%s</code>.</p>"
             "<p>Its health is at <a href=\"/healthz\">/healthz</a>.</p></html>\n",
             escaped(v, version, html), escaped(c, commit, html), escaped(p, pod, html));
    reply(peer, head_only, "200 OK", "text/html; charset=utf-8", body);
}

/* ---- requests ---------------------------------------------------------------------------------------------------------------- */

/* METHOD SP PATH[?QUERY] SP HTTP/1.x. Who asks for its health comes to the end, whether or not users do: that does not keep it from ending. */
static void answer(Peer *peer, char *line)
{
    char *path = strchr(line, ' '), *protocol = path ? strchr(path + 1, ' ') : NULL;
    if (!protocol || path[1] != '/' || strncmp(protocol + 1, "HTTP/1.", 7) != 0) {
        reply_error(peer, "400 Bad Request");
        return;
    }
    *path++ = *protocol = 0;
    path[strcspn(path, "?")] = 0;
    if (strcmp(path, "/healthz") != 0 && strcmp(path, "/livez") != 0)
        last_asked = now_ms();
    int head_only = strcmp(line, "HEAD") == 0;
    if (!head_only && strcmp(line, "GET") != 0)
        reply_error(peer, "405 Method Not Allowed");
    else if (strcmp(path, "/healthz") == 0)
        reply_health(peer, head_only);
    else if (strcmp(path, "/livez") == 0)
        reply(peer, head_only, "200 OK", "text/plain", "alive\n");
    else if (strcmp(path, "/") == 0)
        reply_page(peer, head_only);
    else
        reply(peer, head_only, "404 Not Found", "text/plain", "Not Found\n");
}

static void leave(Peer *peer)
{
    close(peer->fd);
    peer->fd = -1;
}

static void read_some(Peer *peer)
{
    if (peer->state == LINGERING) {             /* closing with unread bytes would reset the connection and lose the answer */
        ssize_t n = recv(peer->fd, peer->request, sizeof peer->request, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            leave(peer);
        return;
    }
    ssize_t n = recv(peer->fd, peer->request + peer->used, REQUEST_MAX - 1 - peer->used, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        leave(peer);
        return;
    }
    peer->used += (size_t)n;
    char *first_end = memchr(peer->request, '\n', peer->used);
    if (!isupper((unsigned char)peer->request[0]) || (first_end && memchr(peer->request, 0, (size_t)(first_end - peer->request)))) {
        reply_error(peer, "400 Bad Request");   /* a TLS hello, a port scan, noise */
    } else if (first_end && memmem(peer->request, peer->used, "\r\n\r\n", 4)) {
        peer->request[peer->used] = 0;
        *first_end = 0;
        answer(peer, peer->request);
    } else if (peer->used == REQUEST_MAX - 1) {
        reply_error(peer, "431 Request Header Fields Too Large");
    }
}

static void write_some(Peer *peer)
{
    ssize_t n = send(peer->fd, peer->answer + peer->sent, peer->size - peer->sent, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            leave(peer);
        return;
    }
    peer->sent += (size_t)n;
    if (peer->sent == peer->size) {
        shutdown(peer->fd, SHUT_WR);
        peer->state = LINGERING;
        peer->deadline = now_ms() + LINGER_MS;
    }
}

static void expire(Peer *peer)
{
    if (peer->state == READING)
        reply_error(peer, "408 Request Timeout");
    else
        leave(peer);
}

static void welcome(int listener)
{
    Peer *place = &peers[0];
    for (Peer *p = peers; p < peers + PLACES; p++) {
        if (p->fd < 0) {
            place = p;
            break;
        }
        if (p->deadline < place->deadline)
            place = p;
    }
    if (place->fd >= 0)
        leave(place);
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    place->fd = fd;
    place->state = READING;
    place->used = place->sent = place->size = 0;
    place->deadline = now_ms() + PEER_MS;
}

/* ---- start, loop, end -------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void text_from_env(char *out, size_t size, const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    snprintf(out, size, "%s", value && *value ? value : otherwise);
}

static long number_from_env(const char *name, long otherwise, long low, long high)
{
    const char *value = getenv(name);
    if (!value || !*value)
        return otherwise;
    char *end;
    long number = strtol(value, &end, 10);
    if (*end || number < low || number > high)
        fail("%s must be a number from %ld to %ld", name, low, high);
    return number;
}

/* How many bytes a base64 text stands for; 0 if it is not base64. */
static size_t base64_bytes(const char *text)
{
    size_t length = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_");
    size_t padding = strspn(text + length, "=\n");
    return text[length + padding] ? 0 : length * 3 / 4;
}

static void read_settings(void)
{
    const char *secret = getenv("IHP_SESSION_SECRET");
    if (!secret || !*secret)
        fail("IHP_SESSION_SECRET is not set: sessions cannot be signed");
    if (base64_bytes(secret) < SECRET_BYTES)
        fail("IHP_SESSION_SECRET must be base64 of %d random bytes or more", SECRET_BYTES);

    char path[1024];
    text_from_env(path, sizeof path - 16, "PROBE_CONFIG", "/etc/probe");
    strcat(path, "/version");
    FILE *file = fopen(path, "re");
    if (!file || !fgets(version, sizeof version, file))
        strcpy(version, "unknown");
    if (file)
        fclose(file);
    version[strcspn(version, "\r\n")] = 0;

    text_from_env(commit, sizeof commit, "PROBE_COMMIT", "unknown");
    text_from_env(base_url, sizeof base_url, "IHP_BASEURL", "");
    if (gethostname(pod, sizeof pod - 1) != 0)
        strcpy(pod, "unknown");
}

static int listen_on(int port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)port), .sin6_addr = in6addr_any};
    struct sockaddr_in address4 = {.sin_family = AF_INET, .sin_port = address.sin6_port};
    int yes = 1, no = 0, fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1024) == 0)
            return fd;
        close(fd);
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);   /* a node without IPv6 */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address4, sizeof address4) != 0 || listen(fd, 1024) != 0)
        fail("cannot listen on port %d: %s", port, strerror(errno));
    return fd;
}

/* After SIGTERM it serves until nobody has asked for `drain_ms`: an ingress may notice late that this pod is leaving. */
static void serve(int listener, int signals, long drain_ms, long limit_ms)
{
    struct pollfd polled[PLACES + 2] = {{.fd = listener, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    long end = 0, limit = 0;
    for (int i = 0; i < PLACES; i++)
        peers[i].fd = -1;
    while (!draining || now_ms() < end) {
        long next = draining ? end : now_ms() + 60000;
        for (int i = 0; i < PLACES; i++) {
            polled[i + 2].fd = peers[i].fd;
            polled[i + 2].events = peers[i].state == WRITING ? POLLOUT : POLLIN;
            polled[i + 2].revents = 0;
            if (peers[i].fd >= 0 && peers[i].deadline < next)
                next = peers[i].deadline;
        }
        long wait = next - now_ms();
        if (poll(polled, PLACES + 2, wait > 0 ? (int)wait : 0) < 0 && errno != EINTR)
            fail("poll: %s", strerror(errno));
        struct signalfd_siginfo signal_read;
        if ((polled[1].revents & POLLIN) && read(signals, &signal_read, sizeof signal_read) == (ssize_t)sizeof signal_read && !draining) {
            draining = 1;
            end = now_ms() + drain_ms;
            limit = now_ms() + limit_ms;
            printf("draining until nobody has asked for %ld ms, %ld ms at most\n", drain_ms, limit_ms);
        }
        for (int i = 0; i < PLACES; i++) {
            Peer *peer = &peers[i];
            if (peer->fd >= 0 && polled[i + 2].revents) {
                if (peer->state != WRITING)
                    read_some(peer);
                if (peer->fd >= 0 && peer->state == WRITING)
                    write_some(peer);
            }
            if (peer->fd >= 0 && now_ms() >= peer->deadline)
                expire(peer);
        }
        if (polled[0].revents & POLLIN)
            welcome(listener);
        if (draining && last_asked + drain_ms > end)
            end = last_asked + drain_ms < limit ? last_asked + drain_ms : limit;
    }
}

int main(void)
{
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);        /* before any thread starts; and process 1 has no default for SIGTERM anyway */
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);

    read_settings();
    int port = (int)number_from_env("PORT", 8000, 1, 65535);
    long drain_ms = number_from_env("DRAIN_SECONDS", 3, 0, 3600) * 1000;
    long limit_ms = number_from_env("DRAIN_LIMIT_SECONDS", drain_ms / 1000, drain_ms / 1000, 3600) * 1000;
    int listener = listen_on(port), signals = signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals < 0)
        fail("signalfd: %s", strerror(errno));
    database_watch(getenv("DATABASE_URL"));     /* the first answer to /healthz is already a true one */
    printf("version %s, commit %s, port %d, database %s\n", version, commit, port, database_state());
    serve(listener, signals, drain_ms, limit_ms);
    printf("drained\n");
    return 0;
}
