/*
 * What programs expect of a file system, tried as root in the current directory of a guest. Prints
 * each expectation that was not met and ends with their number, 0 at best. Arguments switch off
 * what cannot be: "noshared" (mappings with MAP_SHARED), "noids" (other users' files).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int failures;
static bool shared = true, ids = true;
static struct stat st;

#define EXPECT(truth)                                                                    \
	do {                                                                             \
		errno = 0;                                                               \
		if (!(truth)) {                                                          \
			printf("line %d: %s (%s)\n", __LINE__, #truth, strerror(errno)); \
			fflush(stdout);                                                  \
			failures++;                                                      \
		}                                                                        \
	} while (0)
#define REFUSED(call, error) EXPECT((call) == -1 && errno == (error))

static int make(const char *name, const char *text, mode_t mode)
{
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR, mode);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return -1;
	return fd;
}

static bool holds(int fd, const char *text)
{
	char found[256];
	ssize_t n = pread(fd, found, sizeof(found) - 1, 0);

	if (n < 0)
		return false;
	found[n] = 0;
	return strcmp(found, text) == 0;
}

/* Run @body as another user, in a process of its own; what fails there counts here. */
static void as_user(uid_t uid, gid_t gid, gid_t more, void (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		failures = 0;
		EXPECT(setgroups(more ? 1 : 0, &more) == 0);
		EXPECT(setgid(gid) == 0 && setuid(uid) == 0);
		umask(022);
		body();
		_exit(failures);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	failures += WEXITSTATUS(status);
}

static void test_create(void)
{
	char name[300];
	int fd;

	umask(027);
	EXPECT((fd = make("c1", "one", 0777)) >= 0);
	umask(0);
	EXPECT(fstat(fd, &st) == 0 && st.st_mode == (S_IFREG | 0750) && st.st_size == 3);
	REFUSED(open("c1", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
	EXPECT(close(open("c1", O_CREAT | O_RDONLY, 0600)) == 0);
	EXPECT(close(open("c1", O_WRONLY | O_TRUNC)) == 0);
	EXPECT(fstat(fd, &st) == 0 && st.st_size == 0);
	close(fd);
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	EXPECT(close(open(name, O_CREAT | O_WRONLY, 0600)) == 0 && unlink(name) == 0);
	name[255] = 'n';
	name[256] = 0;
	REFUSED(open(name, O_CREAT | O_WRONLY, 0600), ENAMETOOLONG);
	REFUSED(open("c1/x", O_RDONLY), ENOTDIR);
	REFUSED(open("c1", O_RDONLY | O_DIRECTORY), ENOTDIR);
	REFUSED(open(".", O_WRONLY), EISDIR);
	REFUSED(open("absent/x", O_CREAT | O_WRONLY, 0600), ENOENT);
}

static void test_unlinked(void)
{
	int fd = make("u1", "hello", 0600), other;

	EXPECT(unlink("u1") == 0);
	EXPECT(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 5);
	EXPECT(ftruncate(fd, 2) == 0 && holds(fd, "he"));
	EXPECT(pwrite(fd, "y!", 2, 2) == 2 && holds(fd, "hey!"));
	EXPECT(fchmod(fd, 0640) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640);
	EXPECT((other = make("u1", "second", 0600)) >= 0);
	EXPECT(holds(fd, "hey!") && holds(other, "second"));
	close(fd);
	close(other);
	EXPECT(mkdir("udir", 0700) == 0 && (fd = open("udir", O_RDONLY)) >= 0 &&
		rmdir("udir") == 0);
	EXPECT(fstat(fd, &st) == 0);
	REFUSED(openat(fd, "x", O_CREAT | O_WRONLY, 0600), ENOENT);
	close(fd);
#ifdef O_TMPFILE
	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (fd >= 0) { /* Linux 6.1 and later, and the host's file system */
		char path[64];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		EXPECT(write(fd, "tmp", 3) == 3);
		EXPECT(linkat(AT_FDCWD, path, AT_FDCWD, "u2", AT_SYMLINK_FOLLOW) == 0);
		EXPECT(stat("u2", &st) == 0 && st.st_size == 3 && st.st_nlink == 1);
		close(fd);
	}
#endif
}

static void test_rename(void)
{
	int a = make("r1", "a", 0600), b = make("r2", "b", 0600);

	REFUSED(renameat2(AT_FDCWD, "r1", AT_FDCWD, "r2", RENAME_NOREPLACE), EEXIST);
	EXPECT(renameat2(AT_FDCWD, "r1", AT_FDCWD, "r2", RENAME_EXCHANGE) == 0);
	EXPECT(close(a) == 0 && (a = open("r1", O_RDWR)) >= 0 && holds(a, "b"));
	EXPECT(rename("r1", "r2") == 0 && holds(b, "b"));
	REFUSED(open("r1", O_RDONLY), ENOENT);
	EXPECT(mkdir("rd", 0700) == 0 && mkdir("rd/in", 0700) == 0 && mkdir("re", 0700) == 0);
	REFUSED(rename("re", "rd"), ENOTEMPTY);
	REFUSED(rename("rd", "rd/in/x"), EINVAL);
	REFUSED(rename("r2", "rd"), EISDIR);
	REFUSED(rename("rd", "r2"), ENOTDIR);
	EXPECT(rename("rd", "re") == 0 && stat("re/in", &st) == 0);
	REFUSED(rmdir("re"), ENOTEMPTY);
	REFUSED(unlink("re"), EISDIR);
	REFUSED(rmdir("r2"), ENOTDIR);
	EXPECT(rename("r2", "re/in/r3") == 0 && holds(b, "b"));
	close(a);
	close(b);
}

static void test_links(void)
{
	static char target[4096];
	char found[4200];
	int fd = make("l1", "x", 0600);

	EXPECT(link("l1", "l2") == 0 && fstat(fd, &st) == 0 && st.st_nlink == 2);
	REFUSED(link("l1", "l2"), EEXIST);
	REFUSED(link(".", "l3"), EPERM);
	EXPECT(unlink("l1") == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1);
	memset(target, 't', sizeof(target) - 1);
	target[1000] = 0;
	EXPECT(symlink(target, "s1") == 0 && readlink("s1", found, sizeof(found)) == 1000);
	EXPECT(lstat("s1", &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 1000);
	EXPECT(symlink("l2", "s2") == 0 && link("s2", "s3") == 0);
	EXPECT(lstat("s3", &st) == 0 && S_ISLNK(st.st_mode) && st.st_nlink == 2);
	REFUSED(open("s2", O_RDONLY | O_NOFOLLOW), ELOOP);
	EXPECT(lchown("s2", 0, 0) == 0);
	EXPECT(symlink("loop", "loop") == 0);
	REFUSED(open("loop", O_RDONLY), ELOOP);
	close(fd);
}

static void owner_makes(void)
{
	int fd = make("o1", "x", 0666);

	EXPECT(fstat(fd, &st) == 0 && st.st_uid == 1000 && st.st_gid == 1000);
	EXPECT((st.st_mode & 07777) == 0644);
	EXPECT(fchmod(fd, 0600) == 0);
	EXPECT(mkdir("od", 0755) == 0 && symlink("x", "os") == 0 && mkfifo("of", 0600) == 0);
	EXPECT(lstat("os", &st) == 0 && st.st_uid == 1000);
	EXPECT(stat("of", &st) == 0 && st.st_uid == 1000);
	REFUSED(open("secret", O_RDONLY), EACCES);
	REFUSED(chown("o1", 0, 0), EPERM);
	REFUSED(chmod("secret", 0666), EPERM);
	REFUSED(mknod("odev", S_IFCHR | 0600, makedev(1, 3)), EPERM);
	close(fd);
}

static void other_meddles(void)
{
	REFUSED(unlink("o1"), EPERM); /* the directory is sticky */
	REFUSED(rename("o1", "o9"), EPERM);
	REFUSED(open("o1", O_RDONLY), EACCES);
}

static void by_group(void)
{
	int fd = make("team/file", "x", 0664);

	EXPECT(fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == 1000 && st.st_gid == 2000);
	EXPECT(mkdir("team/dir", 0755) == 0 && stat("team/dir", &st) == 0);
	EXPECT(st.st_mode & S_ISGID && st.st_gid == 2000);
	close(fd);
}

static void write_set_id(void)
{
	int fd = open("suid", O_WRONLY);

	EXPECT(fd >= 0 && write(fd, "z", 1) == 1);
	close(fd);
	fd = open("suid2", O_WRONLY | O_TRUNC);
	EXPECT(fd >= 0);
	close(fd);
}

static void test_ids(void)
{
	int fd;

	if (!ids)
		return;
	EXPECT(mkdir("pub", 0700) == 0 && chmod("pub", 01777) == 0 && chdir("pub") == 0);
	close(make("secret", "x", 0600));
	as_user(1000, 1000, 0, owner_makes);
	as_user(1001, 1001, 0, other_meddles);
	EXPECT(mkdir("team", 0700) == 0 && chown("team", 0, 2000) == 0);
	EXPECT(chmod("team", 02770) == 0);
	as_user(1000, 1000, 2000, by_group);
	fd = make("suid", "x", 0600);
	close(make("suid2", "xx", 0600));
	EXPECT(fchmod(fd, 06777) == 0 && chmod("suid2", 06777) == 0);
	EXPECT(write(fd, "y", 1) == 1 && fstat(fd, &st) == 0);
	as_user(1000, 1000, 0, write_set_id);
	EXPECT(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0777);
	EXPECT(stat("suid2", &st) == 0 && (st.st_mode & 07777) == 0777 && st.st_size == 0);
	EXPECT(fchmod(fd, 04755) == 0 && fchown(fd, 1000, 1000) == 0 && fstat(fd, &st) == 0);
	EXPECT((st.st_mode & 07777) == 0755 && st.st_uid == 1000);
	close(fd);
	EXPECT(chdir("..") == 0);
}

static void test_times(void)
{
	struct timespec ts[2] = { { 1000, 123456789 }, { 2000000000, 987654321 } };
	int fd = make("t1", "x", 0600);

	EXPECT(futimens(fd, ts) == 0 && fstat(fd, &st) == 0);
	EXPECT(st.st_atim.tv_sec == 1000 && st.st_atim.tv_nsec == 123456789);
	EXPECT(st.st_mtim.tv_sec == 2000000000 && st.st_mtim.tv_nsec == 987654321);
	ts[0].tv_nsec = UTIME_OMIT;
	ts[1].tv_nsec = UTIME_NOW;
	EXPECT(futimens(fd, ts) == 0 && fstat(fd, &st) == 0 && st.st_atim.tv_sec == 1000);
	EXPECT(llabs((long long)st.st_mtim.tv_sec - time(NULL)) < 100);
	EXPECT(symlink("t1", "t2") == 0 &&
		utimensat(AT_FDCWD, "t2", (struct timespec[2]){ { 5, 6 }, { 7, 8 } },
			AT_SYMLINK_NOFOLLOW) == 0);
	EXPECT(lstat("t2", &st) == 0 && st.st_mtim.tv_sec == 7 && st.st_mtim.tv_nsec == 8);
	close(fd);
}

static void test_special(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), fd;
	char byte = 0;
	pid_t pid;

	EXPECT(bind(s, (struct sockaddr *)&sun, sizeof(sun)) == 0 && listen(s, 1) == 0);
	EXPECT(connect(c, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	EXPECT(stat("sock", &st) == 0 && S_ISSOCK(st.st_mode));
	close(s);
	close(c);
	EXPECT(mkfifo("fifo", 0600) == 0);
	pid = fork();
	if (pid == 0) {
		fd = open("fifo", O_WRONLY);
		_exit(write(fd, "f", 1) == 1 ? 0 : 1);
	}
	EXPECT((fd = open("fifo", O_RDONLY)) >= 0 && read(fd, &byte, 1) == 1 && byte == 'f');
	close(fd);
	waitpid(pid, NULL, 0);
	if (ids) {
		EXPECT(mknod("null", S_IFCHR | 0666, makedev(1, 3)) == 0);
		EXPECT(stat("null", &st) == 0 && st.st_rdev == makedev(1, 3));
		EXPECT((fd = open("null", O_RDWR)) >= 0 && write(fd, "x", 1) == 1 &&
			read(fd, &byte, 1) == 0);
		close(fd);
	}
}

static void test_space(void)
{
	static char page[8192] __attribute__((aligned(4096)));
	int fd = make("sp", "", 0600), to = make("sp2", "", 0600);
	struct statfs fs;
	loff_t from = 0;

	EXPECT(ftruncate(fd, 1 << 20) == 0 && pwrite(fd, "data", 4, 65536) == 4);
	EXPECT(fstat(fd, &st) == 0 && st.st_size == 1 << 20 && st.st_blocks * 512 < 1 << 20);
	EXPECT(pread(fd, page, 8, 65532) == 8 && !memcmp(page, "\0\0\0\0data", 8));
	EXPECT(fsync(fd) == 0 && lseek(fd, 0, SEEK_DATA) == 65536);
	EXPECT(lseek(fd, 65536, SEEK_HOLE) > 65536 && lseek(fd, 0, SEEK_HOLE) == 0);
	EXPECT(fallocate(fd, 0, 0, 2 << 20) == 0 && fstat(fd, &st) == 0 && st.st_size == 2 << 20);
	EXPECT(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 3 << 20) == 0);
	EXPECT(fstat(fd, &st) == 0 && st.st_size == 2 << 20);
	EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 4096) == 0);
	EXPECT(pread(fd, page, 4, 65536) == 4 && !memcmp(page, "\0\0\0\0", 4));
	EXPECT(pwrite(fd, "copied", 6, 0) == 6);
	EXPECT(copy_file_range(fd, &from, to, NULL, 6, 0) == 6 && holds(to, "copied"));
	EXPECT(statfs(".", &fs) == 0 && fs.f_blocks && fs.f_bavail && fs.f_namelen == 255);
	EXPECT(fdatasync(fd) == 0 && syncfs(fd) == 0);
	close(fd);
	EXPECT((fd = open("sp", O_RDWR | O_DIRECT)) >= 0);
	memset(page, 'd', sizeof(page));
	EXPECT(pwrite(fd, page, 8192, 4096) == 8192);
	memset(page, 0, sizeof(page));
	EXPECT(pread(fd, page, 4096, 8192) == 4096 && page[0] == 'd' && page[4095] == 'd');
	close(fd);
	close(to);
}

static void test_append(void)
{
	enum { WRITERS = 3, LINES = 200 };
	int fd = make("ap", "", 0600);

	for (int w = 0; w < WRITERS; w++) {
		if (fork())
			continue;
		fd = open("ap", O_WRONLY | O_APPEND);
		for (int i = 0; i < LINES; i++)
			if (write(fd, "0123456789abcde\n", 16) != 16)
				_exit(1);
		_exit(0);
	}
	for (int w = 0; w < WRITERS; w++)
		wait(NULL);
	EXPECT(fstat(fd, &st) == 0 && st.st_size == 16 * WRITERS * LINES);
	/* Said later. */
	EXPECT(fcntl(fd, F_SETFL, O_APPEND) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	EXPECT(write(fd, "!", 1) == 1 && fstat(fd, &st) == 0);
	EXPECT(st.st_size == 16 * WRITERS * LINES + 1);
	close(fd);
}

static void test_mmap(void)
{
	char *map, buf[8];
	int fd = make("mm", "0123456789", 0600);

	EXPECT(ftruncate(fd, 10000) == 0);
	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	EXPECT(map != MAP_FAILED && !memcmp(map, "0123", 4));
	map[0] = 'p';
	EXPECT(pread(fd, buf, 1, 0) == 1 && buf[0] == '0');
	munmap(map, 10000);
	if (!shared) {
		close(fd);
		return;
	}
	map = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT(map != MAP_FAILED);
	memcpy(map + 9000, "mapped", 6);
	EXPECT(pread(fd, buf, 6, 9000) == 6 && !memcmp(buf, "mapped", 6));
	EXPECT(pwrite(fd, "W", 1, 1) == 1 && map[1] == 'W');
	EXPECT(msync(map, 10000, MS_SYNC) == 0);
	memcpy(map + 9990, "last", 4);
	munmap(map, 10000);
	close(fd);
	fd = open("mm", O_RDONLY);
	EXPECT(pread(fd, buf, 6, 9990) == 6 && !memcmp(buf, "last\0\0", 6));
	EXPECT(fstat(fd, &st) == 0 && st.st_size == 10000);
	close(fd);
}

static int range_lock(int fd, int how, short type, off_t start, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
	int r = fcntl(fd, how, &l);

	return how == F_GETLK && r == 0 ? l.l_type == F_UNLCK ? 0 : (int)l.l_pid : r;
}

static void test_locks(void)
{
	int fd = make("lk", "x", 0600), status, ready[2];
	pid_t parent = getpid(), pid;
	char byte;

	EXPECT(range_lock(fd, F_SETLK, F_WRLCK, 10, 10) == 0 && pipe(ready) == 0);
	pid = fork();
	if (pid == 0) {
		failures = 0;
		fd = open("lk", O_RDWR);
		EXPECT(range_lock(fd, F_SETLK, F_RDLCK, 15, 1) == -1 &&
			(errno == EAGAIN || errno == EACCES));
		EXPECT(range_lock(fd, F_GETLK, F_WRLCK, 0, 0) == parent);
		EXPECT(range_lock(fd, F_SETLK, F_WRLCK, 20, 1) == 0);
		EXPECT(write(ready[1], "r", 1) == 1);
		EXPECT(range_lock(fd, F_SETLKW, F_WRLCK, 10, 10) ==
			0); /* until the parent closes */
		_exit(failures);
	}
	EXPECT(read(ready[0], &byte, 1) == 1);
	EXPECT(range_lock(fd, F_SETLK, F_WRLCK, 20, 1) == -1);
	usleep(300000);
	EXPECT(waitpid(pid, &status, WNOHANG) == 0);
	close(open("lk", O_RDONLY)); /* POSIX: any close drops all of the process's */
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	failures += WEXITSTATUS(status);

	EXPECT(flock(fd, LOCK_EX) == 0);
	pid = fork();
	if (pid == 0) {
		failures = 0;
		fd = open("lk", O_RDWR);
		REFUSED(flock(fd, LOCK_SH | LOCK_NB), EWOULDBLOCK);
		EXPECT(write(ready[1], "r", 1) == 1);
		EXPECT(flock(fd, LOCK_SH) == 0);
		_exit(failures);
	}
	EXPECT(read(ready[0], &byte, 1) == 1);
	usleep(200000);
	EXPECT(flock(fd, LOCK_SH) == 0);
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	failures += WEXITSTATUS(status);
	close(fd);
}

static void test_xattrs(void)
{
	char buf[256];
	int fd = make("xa", "x", 0600);

	if (fsetxattr(fd, "user.one", "1", 1, 0) == 0 || errno != EOPNOTSUPP) {
		EXPECT(fsetxattr(fd, "user.two", "22", 2, XATTR_CREATE) == 0);
		REFUSED(fsetxattr(fd, "user.two", "22", 2, XATTR_CREATE), EEXIST);
		EXPECT(fgetxattr(fd, "user.two", NULL, 0) == 2);
		EXPECT(fgetxattr(fd, "user.two", buf, sizeof(buf)) == 2 && !memcmp(buf, "22", 2));
		REFUSED((int)fgetxattr(fd, "user.two", buf, 1), ERANGE);
		EXPECT(flistxattr(fd, buf, sizeof(buf)) >= 18);
		EXPECT(fremovexattr(fd, "user.one") == 0);
		REFUSED((int)fgetxattr(fd, "user.one", buf, sizeof(buf)), ENODATA);
	}
	close(fd);
}

static void test_directory(void)
{
	enum { FILES = 500 };
	unsigned count = 0, rest = 0;
	struct dirent *d;
	char name[64];
	DIR *dir;

	EXPECT(mkdir("many", 0700) == 0 && chdir("many") == 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "a-file-with-number-%d", i);
		close(make(name, "", 0600));
	}
	EXPECT(stat(".", &st) == 0);
	dir = opendir(".");
	while ((d = readdir(dir))) /* removing on the way must not skip any */
		if (d->d_name[0] == 'a' && unlink(d->d_name) == 0)
			count++;
	EXPECT(count == FILES);
	rewinddir(dir);
	while ((d = readdir(dir)))
		rest++;
	EXPECT(rest == 2);
	closedir(dir);
	EXPECT(chdir("..") == 0 && rmdir("many") == 0);
}

static void test_exec(void)
{
	int fd = open("/proc/self/exe", O_RDONLY), to = open("prog", O_CREAT | O_WRONLY, 0755);
	char buf[4096];
	ssize_t n;
	int status;
	pid_t pid;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		EXPECT(write(to, buf, (size_t)n) == n);
	close(fd);
	REFUSED(execl("./prog", "prog", "exit", NULL), ETXTBSY);
	close(to);
	pid = fork();
	if (pid == 0) {
		execl("./prog", "prog", "exit", NULL);
		_exit(1);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "exit"))
			return 42;
		shared &= strcmp(argv[i], "noshared") != 0;
		ids &= strcmp(argv[i], "noids") != 0;
	}
	alarm(900); /* a lock that nobody gives up */
	umask(0);
	test_create();
	test_unlinked();
	test_rename();
	test_links();
	test_ids();
	test_times();
	test_special();
	test_space();
	test_append();
	test_mmap();
	test_locks();
	test_xattrs();
	test_directory();
	test_exec();
	printf("%d not met\n", failures);
	return failures > 100 ? 100 : failures;
}
