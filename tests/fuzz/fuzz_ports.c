/*
 * What host and guest say of ports, in both directions (guest/listening.h): any bytes, in any pieces.
 * What is heard is a set, says the same when it is said again, and changes nothing when it is broken.
 * And any line in the place of the kernel's.
 */
#include "guest/listening.h"
#include "input.h"

#include <stdlib.h>

static void require(bool truth)
{
	if (!truth)
		abort();
}

static void check(const struct listening *set)
{
	require(set->count <= AGENT_PORTS_MAX);
	for (uint32_t i = 0; i < set->count; i++) {
		require(set->port[i].number != 0);
		require(i == 0 || set->port[i].number > set->port[i - 1].number);
		require(listening_find(set, set->port[i].number) == &set->port[i]);
	}
}

static void hear(const uint8_t *data, size_t size)
{
	struct listening set = { 0 }, again;
	uint8_t message[AGENT_PORTS_MESSAGE];
	size_t len;
	int n = listening_take(&set, data, size);

	require(n <= (int)size);
	check(&set);
	if (n <= 0) {
		require(!set.count);
		return;
	}
	len = listening_put(message, &set);
	require(listening_take(&again, message, len) == (int)len && listening_same(&again, &set));
}

static void read_lines(const uint8_t *data, size_t size)
{
	struct listening set = { 0 };
	char line[256];

	for (size_t at = 0, len; at < size; at += len + 1) {
		for (len = 0; at + len < size && data[at + len] != '\n' && len < sizeof(line) - 1;)
			len++;
		memcpy(line, data + at, len);
		line[len] = 0;
		listening_line(&set, line);
	}
	check(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hear(data, size);
	read_lines(data, size);
	return 0;
}
