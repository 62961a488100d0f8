/*
 * initramfs_dump VERSION MODULES_DIR IMAGE|- OUT [net] [console] [ro] [supervise] [fs]
 * [overlay] [times=N]: writes the
 * initramfs that microvm would make to the file OUT, and how long that took.
 */
#include "rootfs/rootfs.h"
#include "util/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <time.h>

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int copy(int from, const char *path)
{
	_cleanup_close_ int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	off_t at = 0;
	ssize_t n;

	while ((n = sendfile(to, from, &at, 1 << 30)) > 0)
		;
	return n < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct rootfs_needs needs = { 0 };
	int fd = -1, ret = 0, times = 1;
	struct error err = { 0 };

	if (argc < 5)
		return 2;
	needs.kernel_version = strcmp(argv[1], "-") ? argv[1] : NULL;
	needs.modules_dir = strcmp(argv[2], "-") ? argv[2] : NULL;
	needs.root_image = strcmp(argv[3], "-") ? argv[3] : NULL;
	for (int i = 5; i < argc; i++) {
		needs.net |= !strcmp(argv[i], "net");
		needs.console |= !strcmp(argv[i], "console");
		needs.root_read_only |= !strcmp(argv[i], "ro");
		needs.supervise |= !strcmp(argv[i], "supervise");
		needs.fs |= !strcmp(argv[i], "fs");
		needs.overlay |= !strcmp(argv[i], "overlay");
		if (!strncmp(argv[i], "times=", 6))
			times = atoi(argv[i] + 6);
	}
	for (int i = 0; i < times; i++) {
		double start = now_ms();

		if (fd >= 0)
			close(fd);
		ret = rootfs_initramfs(&fd, &needs, &err);
		printf("%d in %.2f ms\n", ret, now_ms() - start);
	}
	if (ret)
		fprintf(stderr, "%s\n", err.msg);
	else if (copy(fd, argv[4]) < 0)
		perror(argv[4]);
	return ret != 0;
}
