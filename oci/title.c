#include "oci/title.h"

#include "util/cleanup.h"

#include <fcntl.h>
#include <linux/prctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { BEHIND_NAME = 3, FIELDS = 51 }; /* proc(5), /proc/PID/stat: the name is field 2 */

/* Field N in field[N]; those up to the name are left out. */
static int read_fields(unsigned long long field[FIELDS + 1])
{
	_cleanup_close_ int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	char text[2048], *at, *save = NULL;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return -1;
	text[n] = 0;
	at = strrchr(text, ')'); /* the name may hold anything */
	at = at ? strtok_r(at + 1, " ", &save) : NULL;
	for (int i = BEHIND_NAME; i <= FIELDS; i++, at = strtok_r(NULL, " ", &save)) {
		if (!at)
			return -1;
		field[i] = strtoull(at, NULL, 10);
	}
	return 0;
}

/* One alone (PR_SET_MM_ARG_START) takes a privilege that nobody has in a user namespace; all do not. */
void title_set(char *title, size_t len)
{
	unsigned long long field[FIELDS + 1];
	struct prctl_mm_map map = { .exe_fd = (uint32_t)-1 };

	if (read_fields(field) < 0)
		return;
	map.start_code = field[26];
	map.end_code = field[27];
	map.start_stack = field[28];
	map.start_data = field[45];
	map.end_data = field[46];
	map.start_brk = field[47];
	map.brk = (uintptr_t)sbrk(0);
	map.arg_start = (uintptr_t)title;
	map.arg_end = (uintptr_t)title + len;
	map.env_start = field[50];
	map.env_end = field[51];
	prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof(map), 0);
}
