/*
 * The lab's root: the machine's own files over 9p, a tmpfs over them, and the
 * kernel's file systems in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"

static void do_mount(
	const char *src, const char *dir, const char *type, unsigned long flags, const char *opts)
{
	if (mount(src, dir, type, flags, opts))
		fault("mount %s on %s", src, dir);
}

static void make_dirs(const char *path)
{
	char buf[4096];

	snprintf(buf, sizeof(buf), "%s", path);
	for (char *p = buf + 1; *p; p++) {
		if (*p == '/') {
			*p = 0;
			mkdir(buf, 0755);
			*p = '/';
		}
	}
	mkdir(buf, 0755);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		write_all(fd, text, strlen(text));
		close(fd);
	}
}

static void mount_cgroups(const char *dir)
{
	char path[256], names[256], line[300] = "";
	FILE *f;

	do_mount("cgroup2", dir, "cgroup2", 0, NULL);
	snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
	f = fopen(path, "re");
	if (!f || !fgets(names, sizeof(names), f))
		fault("read %s", path);
	fclose(f);
	for (char *name = strtok(names, " \n"); name; name = strtok(NULL, " \n"))
		sprintf(line + strlen(line), "+%.30s ", name);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	write_file(path, line);
}

static void make_devices(void)
{
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	mkdir("/dev/mqueue", 0755);
	do_mount("devpts", "/dev/pts", "devpts", 0, "mode=620,ptmxmode=666");
	do_mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	mount("mqueue", "/dev/mqueue", "mqueue", 0, NULL);
	unlink("/dev/ptmx");
	symlink("pts/ptmx", "/dev/ptmx");
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	chmod("/dev/kvm", 0660);
	chmod("/dev/net/tun", 0666);
	chmod("/dev/fuse", 0666);
	chmod("/dev/vhost-vsock", 0666);
}

/* The machine's files below, a tmpfs above; then that becomes the root. */
void make_root(const char *work, const char *modules)
{
	static const char p9[] = "trans=virtio,version=9p2000.L,msize=512000,cache=";
	char opts[128], dir[4200];

	make_dirs("/lower");
	make_dirs("/upper");
	make_dirs("/root");
	snprintf(opts, sizeof(opts), "%sloose", p9);
	do_mount("root", "/lower", "9p", MS_RDONLY, opts);
	do_mount("tmpfs", "/upper", "tmpfs", 0, "mode=755,size=75%");
	make_dirs("/upper/files");
	make_dirs("/upper/work");
	do_mount("lab", "/root", "overlay", 0,
		"lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work,xino=off");
	do_mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);
	do_mount("proc", "/root/proc", "proc", 0, NULL);
	do_mount("sysfs", "/root/sys", "sysfs", 0, NULL);
	do_mount("securityfs", "/root/sys/kernel/security", "securityfs", 0, NULL);
	do_mount("tmpfs", "/root/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
	mount_cgroups("/root/sys/fs/cgroup");
	mkdir("/root/run/lock", 01777);

	snprintf(dir, sizeof(dir), "/root%s", work);
	make_dirs(dir);
	snprintf(opts, sizeof(opts), "%smmap", p9);
	do_mount("work", dir, "9p", 0, opts);
	make_dirs("/root/scratch");
	do_mount("/root/dev/vda", "/root/scratch", "ext4", MS_NOATIME, NULL);
	if (*modules) {
		snprintf(dir, sizeof(dir), "/root/lib/modules/%s", strrchr(modules, '/') + 1);
		make_dirs(dir);
		chdir("/root");
		do_mount(modules + 1, dir, NULL, MS_BIND, NULL); /* relative to the new root */
	}
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fault("switch root");
	mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL);
	make_devices();
}

void set_system(void)
{
	struct rlimit files = { .rlim_cur = 1024, .rlim_max = 1 << 20 };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
	sethostname("lab", 3);
	setrlimit(RLIMIT_NOFILE, &files);
	write_file("/proc/sys/fs/nr_open", "1048576");
}
