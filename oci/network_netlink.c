#include "oci/network_netlink.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

enum { ANSWER_MAX = 65536, LIST_TRIES = 8 };

int netlink_open(void)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0)
		return -errno;
	return take_fd(&fd);
}

void netlink_begin(
	struct netlink_request *r, unsigned type, unsigned flags, const void *body, size_t len)
{
	memset(r, 0, sizeof(*r));
	r->header.nlmsg_type = (uint16_t)type;
	r->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	r->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(&r->header), body, len);
}

static struct rtattr *end_of(struct netlink_request *r)
{
	return (struct rtattr *)(r->bytes + NLMSG_ALIGN(r->header.nlmsg_len));
}

void netlink_add(struct netlink_request *r, unsigned type, const void *data, size_t len)
{
	struct rtattr *attr = end_of(r);

	attr->rta_type = (unsigned short)type;
	attr->rta_len = (unsigned short)RTA_LENGTH(len);
	if (len)
		memcpy(RTA_DATA(attr), data, len);
	r->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->header.nlmsg_len) + RTA_LENGTH(len));
}

struct rtattr *netlink_nest(struct netlink_request *r, unsigned type)
{
	struct rtattr *nest = end_of(r);

	netlink_add(r, type, NULL, 0);
	return nest;
}

void netlink_end(struct netlink_request *r, struct rtattr *nest)
{
	nest->rta_len = (unsigned short)((uint8_t *)end_of(r) - (uint8_t *)nest);
	/* What it says that it holds is there, to the last attribute's padding. */
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len);
}

static ssize_t receive(int fd, void *buf, size_t size)
{
	ssize_t n;

	do {
		n = recv(fd, buf, size, MSG_TRUNC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n > size ? -EMSGSIZE : n;
}

static int transmit(int fd, const struct netlink_request *r)
{
	ssize_t n;

	do {
		n = send(fd, r, r->header.nlmsg_len, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int verdict(const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);

	return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) ? -EIO : e->error;
}

int netlink_do(int fd, struct netlink_request *r)
{
	uint8_t answer[8192] __attribute__((aligned(8)));
	struct nlmsghdr *h = (struct nlmsghdr *)answer;
	ssize_t n;
	int err;

	r->header.nlmsg_flags |= NLM_F_ACK;
	err = transmit(fd, r);
	if (err < 0)
		return err;
	n = receive(fd, answer, sizeof(answer));
	if (n < 0)
		return (int)n;
	if (!NLMSG_OK(h, (size_t)n) || h->nlmsg_type != NLMSG_ERROR)
		return -EIO;
	return verdict(h);
}

/* One pass over the list. 1: it changed meanwhile. */
static int list_once(int fd, struct netlink_request *r, uint8_t *answer,
	int (*each)(void *ctx, const struct nlmsghdr *h), void *ctx)
{
	int err = transmit(fd, r), said = 0;
	bool changed = false;

	while (err == 0) {
		struct nlmsghdr *h = (struct nlmsghdr *)answer;
		ssize_t n = receive(fd, answer, ANSWER_MAX);

		if (n < 0)
			return (int)n;
		for (size_t left = (size_t)n; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			changed |= h->nlmsg_flags & NLM_F_DUMP_INTR;
			if (h->nlmsg_type == NLMSG_ERROR)
				return verdict(h) ?: -EIO;
			if (h->nlmsg_type == NLMSG_DONE)
				return changed ? 1 : said;
			if (said == 0)
				said = each(ctx, h);
		}
	}
	return err;
}

int netlink_list(int fd, unsigned type, const void *body, size_t len,
	int (*each)(void *ctx, const struct nlmsghdr *h), void (*restart)(void *ctx), void *ctx)
{
	_cleanup_free_ uint8_t *answer = malloc(ANSWER_MAX);
	struct netlink_request r;
	int err = 1;

	if (!answer)
		return -ENOMEM;
	for (int i = 0; err == 1 && i < LIST_TRIES; i++) {
		if (restart)
			restart(ctx);
		netlink_begin(&r, type, NLM_F_DUMP, body, len);
		err = list_once(fd, &r, answer, each, ctx);
	}
	return err == 1 ? -EAGAIN : err;
}

void netlink_sort_in(const void *first, size_t len, struct rtattr **table, unsigned max)
{
	struct rtattr *attr = (struct rtattr *)first;

	memset(table, 0, (max + 1) * sizeof(*table));
	for (; RTA_OK(attr, len); attr = RTA_NEXT(attr, len)) {
		unsigned type = attr->rta_type & NLA_TYPE_MASK;

		if (type <= max)
			table[type] = attr;
	}
}

void netlink_sort(const struct nlmsghdr *h, size_t fixed, struct rtattr **table, unsigned max)
{
	size_t head = NLMSG_SPACE(fixed);

	netlink_sort_in((const uint8_t *)h + head, h->nlmsg_len > head ? h->nlmsg_len - head : 0,
		table, max);
}

uint32_t netlink_u32(const struct rtattr *attr)
{
	uint32_t n = 0;

	if (attr && RTA_PAYLOAD(attr) >= sizeof(n))
		memcpy(&n, RTA_DATA(attr), sizeof(n));
	return n;
}
