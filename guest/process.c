#include "guest/process.h"

#include "guest/limits.h"
#include "guest/report.h"
#include "guest/sys.h"
#include "guest/users.h"

#include <asm/ioctls.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

enum { USERS_FILE_MAX = 16 << 20, GROUPS_ALL_MAX = 2 * AGENT_GROUPS_MAX };

#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* The child's own, on its way to exec. It may use memory as it likes: exec gives all back. */
struct child {
	const struct message_start *start;
	int report;
	struct user user;
	const char **argv, **env;
	char home[USERS_HOME_MAX + 8]; /* HOME=... */
};

static void __attribute__((noreturn))
give_up(const struct child *child, uint32_t why, long err, struct text *text)
{
	struct process_failure failure = { .why = why, .err = (int32_t)-err };
	size_t len = text->len < sizeof(failure.text) ? text->len : sizeof(failure.text) - 1;

	memcpy(failure.text, text->buf, len);
	sys_write(child->report, &failure, sizeof(failure));
	sys_exit(127);
}

static void __attribute__((noreturn))
give_up_at(const struct child *child, const char *what, const char *name, long err)
{
	struct text text = { 0 };

	text_add(&text, what);
	text_add(&text, name);
	report_add_error(&text, err);
	give_up(child, AGENT_FAILED_START, err, &text);
}

static void need(const struct child *child, long err, const char *what)
{
	if (err < 0)
		give_up_at(child, what, "", err);
}

static void *memory(const struct child *child, size_t len)
{
	long at = sys_map(len);

	if (at < 0 && at > -4096)
		give_up_at(child, "no memory for the process", "", at);
	return (void *)at;
}

static struct users_file read_users(const struct child *child, const char *path)
{
	long fd = sys_open(path, O_RDONLY), n;
	struct users_file file = { 0 };
	char *to;

	if (fd < 0)
		return file;
	file.text = to = memory(child, USERS_FILE_MAX);
	while (file.len < USERS_FILE_MAX &&
		(n = sys_read((int)fd, to + file.len, USERS_FILE_MAX - file.len)) > 0)
		file.len += (size_t)n;
	sys_close((int)fd);
	return file;
}

static const char *look_up(const char **env, const char *name)
{
	const char *value;

	for (; *env; env++)
		if ((value = text_after((char *)*env, name)) && *value == '=')
			return value + 1;
	return NULL;
}

static void find_user(struct child *child)
{
	const struct message_start *start = child->start;
	bool wants_home = !look_up(child->env, "HOME");
	struct users_file passwd = { 0 }, group = { 0 };
	struct user *user = &child->user;
	struct text why = { 0 };

	if (*start->user || wants_home)
		passwd = read_users(child, "/etc/passwd");
	if (*start->user) {
		group = read_users(child, "/etc/group");
		if (!users_resolve(user, start->user, &passwd, &group, &why))
			give_up(child, AGENT_FAILED_USER, 0, &why);
	} else {
		user->uid = start->uid;
		user->gid = start->gid;
		users_find_home(user, start->uid, &passwd);
	}
	if (wants_home) {
		const char **end = child->env + start->env.count;

		memcpy(child->home, "HOME=", 5);
		memcpy(child->home + 5, user->home, strlen(user->home) + 1);
		*end++ = child->home;
		*end = NULL;
	}
}

static void set_limits(const struct child *child)
{
	const struct message_start *start = child->start;
	long fd;

	for (unsigned i = 0; i < start->rlimit_count; i++) {
		const struct message_rlimit *limit = &start->rlimits[i];
		struct {
			uint64_t soft, hard;
		} values = { limit->soft, limit->hard };

		need(child, sys_call(__NR_prlimit64, 0, limit->resource, SYS_PTR(&values), 0, 0),
			"cannot set a resource limit");
	}
	if (start->flags & AGENT_START_OOM) {
		struct text n = { 0 };

		text_add_number(&n, start->oom_score_adj);
		fd = sys_open("/proc/self/oom_score_adj", O_WRONLY);
		need(child, fd, "cannot set oom_score_adj");
		need(child, sys_write((int)fd, n.buf, n.len), "cannot set oom_score_adj");
		sys_close((int)fd);
	}
	if (start->flags & AGENT_START_UMASK)
		sys_call(__NR_umask, start->umask, 0, 0, 0, 0);
}

/* As `mkdir -p`. What fails is seen by whoever goes there. */
static void make_path(const char *path)
{
	struct text part = { 0 };

	for (; *path; path++) {
		if (*path == '/' && part.len)
			sys_mkdir(part.buf, 0755);
		text_add(&part, (char[2]){ *path, 0 });
	}
	sys_mkdir(part.buf, 0755);
}

static void go_there(const struct child *child)
{
	const char *cwd = *child->start->cwd ? child->start->cwd : "/";
	long err = sys_chdir(cwd);

	if (err == -ENOENT && (child->start->flags & AGENT_START_MAKE_CWD)) {
		make_path(cwd);
		err = sys_chdir(cwd);
	}
	if (err < 0)
		give_up_at(child, "cannot go to the working directory ", cwd, err);
}

static void bound_capabilities(const struct child *child)
{
	if (!(child->start->flags & AGENT_START_CAPS))
		return;
	for (long i = 0; i < 64; i++)
		if (!(child->start->bounding >> i & 1) &&
			sys_call(__NR_prctl, PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			break; /* the kernel has no more of them */
	need(child, sys_call(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0), "cannot keep capabilities");
}

static void become_user(const struct child *child, const struct process_io *io)
{
	const struct message_start *start = child->start;
	const struct user *user = &child->user;
	uint32_t groups[GROUPS_ALL_MAX];
	unsigned count = user->group_count;

	memcpy(groups, user->groups, count * sizeof(groups[0]));
	for (uint32_t i = 0; i < start->groups.count; i++)
		groups[count++] = message_list_u32(&start->groups, i);
	/* So that it can open /dev/stdout and its like. */
	for (int i = 0; user->uid && i < 3; i++)
		if (io->theirs_owned[i])
			sys_call(__NR_fchown, i, user->uid, -1, 0, 0);
	if (!user->uid && !user->gid && !count)
		return; /* as we are */
	need(child, sys_call(__NR_setgroups, count, SYS_PTR(groups), 0, 0, 0),
		"cannot set the groups");
	need(child, sys_call(__NR_setresgid, user->gid, user->gid, user->gid, 0, 0),
		"cannot become the group");
	need(child, sys_call(__NR_setresuid, user->uid, user->uid, user->uid, 0, 0),
		"cannot become the user");
}

static void set_capabilities(const struct child *child)
{
	const struct message_start *start = child->start;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (!(start->flags & AGENT_START_CAPS))
		return;
	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(start->effective >> (32 * i)),
			.permitted = (uint32_t)(start->permitted >> (32 * i)),
			.inheritable = (uint32_t)(start->inheritable >> (32 * i)),
		};
	need(child, sys_call(__NR_capset, SYS_PTR(&header), SYS_PTR(data), 0, 0, 0),
		"cannot set the capabilities");
	for (long i = 0; i < 64; i++)
		if (start->ambient >> i & 1)
			need(child,
				sys_call(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0),
				"cannot raise an ambient capability");
}

static void set_filter(const struct child *child)
{
	const struct message_start *start = child->start;
	struct sock_fprog program = {
		.len = (unsigned short)(start->seccomp.len / sizeof(struct sock_filter)),
	};

	if (!start->seccomp.len)
		return;
	/* In the message it is not aligned. */
	program.filter = memory(child, start->seccomp.len);
	memcpy(program.filter, start->seccomp.data, start->seccomp.len);
	need(child,
		sys_call(__NR_seccomp, SECCOMP_SET_MODE_FILTER, start->seccomp_flags,
			SYS_PTR(&program), 0, 0),
		"cannot install the seccomp filter");
}

/* Becoming a user has taken them out of effect, although they are kept. */
static void use_capabilities(const struct child *child)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	long err = sys_call(__NR_capget, SYS_PTR(&header), SYS_PTR(data), 0, 0, 0);

	for (int i = 0; err == 0 && i < 2; i++)
		data[i].effective = data[i].permitted;
	if (err == 0)
		err = sys_call(__NR_capset, SYS_PTR(&header), SYS_PTR(data), 0, 0, 0);
	need(child, err, "cannot use the capabilities");
}

static void narrow(const struct child *child)
{
	const struct message_start *start = child->start;

	if (start->flags & AGENT_START_NO_NEW_PRIVS) {
		need(child, sys_call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
			"cannot set no_new_privs");
		set_capabilities(child);
		set_filter(child);
		return;
	}
	/* Without no_new_privs a filter takes CAP_SYS_ADMIN, which may be gone afterwards. */
	if (start->seccomp.len && start->flags & AGENT_START_CAPS)
		use_capabilities(child);
	set_filter(child);
	set_capabilities(child);
}

static void take_stdio(const struct child *child, const struct process_io *io)
{
	sys_sigmask(0);
	need(child, sys_call(__NR_setsid, 0, 0, 0, 0, 0), "cannot make a session");
	if (child->start->flags & AGENT_START_TERMINAL)
		need(child, sys_ioctl(io->theirs[0], TIOCSCTTY, 0), "cannot take the terminal");
	for (int i = 0; i < 3; i++)
		need(child, sys_dup2(io->theirs[i], i), "cannot set the standard streams");
}

static bool has_slash(const char *s)
{
	while (*s && *s != '/')
		s++;
	return *s;
}

/* Join @dir (of @len bytes) and @name; false: too long. An empty @dir is the current one. */
static bool join(char *to, size_t size, const char *dir, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	if (len + 1 + name_len >= size)
		return false;
	memcpy(to, dir, len);
	if (len)
		to[len++] = '/';
	memcpy(to + len, name, name_len + 1);
	return true;
}

static long search(const char **argv, const char **env, const char *path)
{
	long err = -ENOENT, last;
	char file[4096];
	size_t len;

	for (;; path += len + 1) {
		for (len = 0; path[len] && path[len] != ':'; len++)
			;
		last = -ENAMETOOLONG;
		if (join(file, sizeof(file), path, len, argv[0]))
			last = sys_execve(file, (char *const *)argv, (char *const *)env);
		if (last == -EACCES)
			err = last; /* go on, but it was there */
		else if (last != -ENOENT && last != -ENOTDIR && last != -ENAMETOOLONG)
			return last;
		else if (last == -ENOENT && sys_access(file) == 0)
			return -ELIBACC; /* it is there, its interpreter is not */
		if (!path[len])
			return err;
	}
}

long process_exec(const char **argv, const char **env, const char *path, uint32_t *why)
{
	long err;

	if (!*argv[0]) {
		err = -ENOENT;
	} else if (has_slash(argv[0])) {
		err = sys_execve(argv[0], (char *const *)argv, (char *const *)env);
		if (err == -ENOENT && sys_access(argv[0]) == 0)
			err = -ELIBACC;
	} else {
		err = search(argv, env, path);
	}
	*why = err == -ENOENT || err == -ENOTDIR || err == -ELIBACC ? AGENT_FAILED_NOT_FOUND
								    : AGENT_FAILED_NOT_EXECUTABLE;
	return err;
}

static void __attribute__((noreturn)) run_child(struct child *child, const struct process_io *io)
{
	const struct message_start *start = child->start;
	struct text text = { 0 };
	const char *path;
	uint32_t why;
	long err;

	take_stdio(child, io);
	if (*start->group && (err = limits_enter(start->group)) < 0)
		give_up_at(child, "cannot go into the control group ", start->group, err);
	child->argv = memory(child, (start->argv.count + 1) * sizeof(char *));
	child->env = memory(child, (start->env.count + 2) * sizeof(char *));
	message_vector(&start->argv, child->argv);
	message_vector(&start->env, child->env);
	find_user(child);
	set_limits(child);
	go_there(child);
	bound_capabilities(child);
	become_user(child, io);
	narrow(child);
	path = look_up(child->env, "PATH");
	if (!path)
		path = USUAL_PATH;
	err = process_exec(child->argv, child->env, path, &why);
	text_add(&text, child->argv[0]);
	if (err == -ENOENT && !has_slash(child->argv[0])) {
		text_add(&text, ": not found in PATH (");
		text_add(&text, path);
		text_add(&text, ")");
	} else {
		report_add_error(&text, err);
	}
	give_up(child, why, err, &text);
}

void process_become(const struct message_start *start, const struct process_io *io, int report)
{
	struct child child = { .start = start, .report = report };

	run_child(&child, io);
}

long process_start(
	const struct message_start *start, const struct process_io *io, int group, int *report)
{
	int ends[2];
	long pid, err = sys_pipe(ends, 0);

	if (err < 0)
		return err;
	pid = sys_fork_into(group);
	if (pid == 0)
		process_become(start, io, ends[1]);
	sys_close(ends[1]);
	if (pid < 0) {
		sys_close(ends[0]);
		return pid;
	}
	*report = ends[0];
	return pid;
}
