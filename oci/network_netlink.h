/*
 * Requests to the kernel's network configuration, over rtnetlink (man 7 rtnetlink, man 7 netlink).
 * A socket is used by one thread; each belongs to the namespace in which it was opened.
 */
#pragma once

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

enum { NETLINK_REQUEST_MAX = 512 };

struct netlink_request {
	union {
		struct nlmsghdr header;
		uint8_t bytes[NETLINK_REQUEST_MAX];
	};
};

/* A descriptor, which the caller closes, or a negative errno. */
int netlink_open(void);

/* Begin a request of @type with the fixed part @body. */
void netlink_begin(
	struct netlink_request *r, unsigned type, unsigned flags, const void *body, size_t len);
/* Requests here are small: what they hold is known to fit. */
void netlink_add(struct netlink_request *r, unsigned type, const void *data, size_t len);
/* What is added up to netlink_end() goes into the attribute @type. */
struct rtattr *netlink_nest(struct netlink_request *r, unsigned type);
void netlink_end(struct netlink_request *r, struct rtattr *nest);

/* Send it and wait for the kernel's verdict: 0 or a negative errno. */
int netlink_do(int fd, struct netlink_request *r);

/*
 * Ask for all of a kind: @each gets every answer; what it returns, if not 0, is returned once the
 * last has been read. Begins again when the kernel says that the list changed meanwhile: @restart
 * (may be NULL) then forgets what was told so far.
 */
int netlink_list(int fd, unsigned type, const void *body, size_t len,
	int (*each)(void *ctx, const struct nlmsghdr *h), void (*restart)(void *ctx), void *ctx);

/*
 * Sort the attributes behind the fixed part of @fixed bytes into @table of @max + 1 pointers; the
 * ones that are not there are NULL.
 */
void netlink_sort(const struct nlmsghdr *h, size_t fixed, struct rtattr **table, unsigned max);
/* The same for those nested in an attribute. */
void netlink_sort_in(const void *first, size_t len, struct rtattr **table, unsigned max);
uint32_t netlink_u32(const struct rtattr *attr); /* 0 if it is not there, or shorter */
