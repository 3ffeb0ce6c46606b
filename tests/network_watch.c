/* Preloaded into the processes of a test: writes to $NETWORK_LOG what they ask of the network, and refuses it.
   Addresses of this machine itself are let through. Build: cc -shared -fPIC network_watch.c -o network_watch.so -ldl */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *what, const char *detail)
{
    const char *path = getenv("NETWORK_LOG");
    char line[512];
    int length = snprintf(line, sizeof line, "%s %.400s\n", what, detail);
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file < 0) return;
    if (write(file, line, (size_t)length) < 0) abort();
    close(file);
}

/* 1 where an address is not of this machine; writes it down */
static int leaves(const char *what, const struct sockaddr *address)
{
    char text[INET6_ADDRSTRLEN] = "?";
    int here = 1;
    if (address == NULL) return 0;
    if (address->sa_family == AF_INET) {
        const struct in_addr *ip = &((const struct sockaddr_in *)address)->sin_addr;
        inet_ntop(AF_INET, ip, text, sizeof text);
        here = (ntohl(ip->s_addr) >> 24) == 127;
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *ip = &((const struct sockaddr_in6 *)address)->sin6_addr;
        inet_ntop(AF_INET6, ip, text, sizeof text);
        here = IN6_IS_ADDR_LOOPBACK(ip);
    } else {
        return 0;
    }
    note(what, text);
    if (!here) errno = ENETUNREACH;
    return !here;
}

int connect(int socket, const struct sockaddr *address, socklen_t size)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    return leaves("connect", address) ? -1 : real(socket, address, size);
}

int bind(int socket, const struct sockaddr *address, socklen_t size)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    return leaves("bind", address) ? -1 : real(socket, address, size);
}

ssize_t sendto(int socket, const void *data, size_t length, int flags, const struct sockaddr *address, socklen_t size)
{
    ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "sendto");
    return leaves("sendto", address) ? -1 : real(socket, data, length, flags, address, size);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    (void)service, (void)hints, (void)found;
    note("lookup", name ? name : "(this machine)");
    return EAI_FAIL;
}

struct hostent *gethostbyname(const char *name)
{
    note("lookup", name);
    return NULL;
}
