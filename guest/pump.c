#include "guest/pump.h"

#include "guest/sys.h"

#include <stdbool.h>

/* From one socket to the other. */
struct way {
	int from, to;
	size_t at, len; /* what is in the buffer, and not written yet */
	enum { WAY_OPEN, WAY_HEARD_ALL, WAY_DONE } state;
	uint8_t buffer[32768];
};

static bool is_for_later(long err)
{
	return err == -EAGAIN || err == -EINTR;
}

/* False: broken. */
static bool fill(struct way *way)
{
	long n;

	if (way->state != WAY_OPEN || way->len)
		return true;
	n = sys_read(way->from, way->buffer, sizeof(way->buffer));
	if (n < 0)
		return is_for_later(n);
	way->at = 0;
	way->len = (size_t)n;
	if (n == 0)
		way->state = WAY_HEARD_ALL;
	return true;
}

static bool empty(struct way *way)
{
	long n;

	if (way->len) {
		n = sys_send(way->to, way->buffer + way->at, way->len);
		if (n < 0)
			return is_for_later(n);
		way->at += (size_t)n;
		way->len -= (size_t)n;
	}
	if (way->state == WAY_HEARD_ALL && !way->len) {
		sys_shutdown(way->to);
		way->state = WAY_DONE;
	}
	return true;
}

static void carry(struct way way[2])
{
	while (way[0].state != WAY_DONE || way[1].state != WAY_DONE) {
		struct pollfd fds[] = { { .fd = way[0].from }, { .fd = way[1].from } };

		for (int i = 0; i < 2; i++) {
			if (way[i].state == WAY_OPEN && !way[i].len)
				fds[i].events |= POLLIN;
			if (way[i].len)
				fds[1 - i].events |= POLLOUT;
		}
		/*
		 * One that nothing is wanted of would wake us for ever once it is at its end; but one
		 * that has said all may go altogether, and then there is nobody to say anything to.
		 */
		for (int i = 0; i < 2; i++)
			if (!fds[i].events && way[i].state != WAY_DONE)
				fds[i].fd = -1;
		if (sys_poll(fds, 2, -1) < 0)
			continue;
		for (int i = 0; i < 2; i++)
			if (way[i].state == WAY_DONE && fds[i].revents & (POLLHUP | POLLERR))
				return;
		for (int i = 0; i < 2; i++)
			if (!fill(&way[i]) || !empty(&way[i]))
				return;
	}
}

void pump_run(int a, int b)
{
	long at = sys_map(2 * sizeof(struct way));
	struct way *way = (struct way *)at;

	if (at < 0 && at > -4096)
		return;
	sys_fcntl(a, F_SETFL, O_RDWR | O_NONBLOCK);
	sys_fcntl(b, F_SETFL, O_RDWR | O_NONBLOCK);
	way[0].from = way[1].to = a;
	way[0].to = way[1].from = b;
	carry(way);
	sys_unmap(way, 2 * sizeof(*way));
}

void pump_keep_only(int a, int b)
{
	int low = a < b ? a : b, high = a < b ? b : a;

	if (low >= 3)
		sys_close_range(3, (unsigned)low - 1);
	sys_close_range(low < 3 ? 3 : (unsigned)low + 1, (unsigned)high - 1);
	sys_close_range((unsigned)high + 1, ~0U);
}
