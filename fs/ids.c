/*
 * Whose rights, whose files. The guest's kernel has checked the permissions of its processes before
 * it asks (it is told to, by the virtio-fs mount), so here it is only about what new inodes belong
 * to and about set-id bits.
 *
 * With root's capabilities: a new inode belongs to the request's user and group by way of the
 * thread's own file system ids (setfsuid), while the securebit SECBIT_NO_SETUID_FIXUP keeps the
 * capabilities where they are. CAP_FSETID decides whether the host's kernel keeps set-id bits; it is
 * out of the effective set while a guest's unprivileged user writes. Both are switched only when
 * they differ from what the thread has, so a row of like requests costs nothing.
 */
#include "fs/internal.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap) (1ULL << (cap))

static uint64_t needed(void)
{
	return BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_FSETID) |
	       BIT(CAP_SETUID) | BIT(CAP_SETGID);
}

uint64_t fs_ids_wanted(void)
{
	/* Without the last two (containers often lack them) single calls of the guest fail. */
	return needed() | BIT(CAP_MKNOD) | BIT(CAP_SETFCAP);
}

static int get_caps(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

static bool have(const struct __user_cap_data_struct data[2], uint64_t wanted)
{
	uint64_t effective = data[0].effective | (uint64_t)data[1].effective << 32;

	return (effective & wanted) == wanted;
}

static int want_no_fixup(void)
{
	int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);

	if (bits < 0)
		return -errno;
	if (bits & SECBIT_NO_SETUID_FIXUP)
		return 0;
	return prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0 ? -errno : 0;
}

bool fs_ids_root(void)
{
	struct __user_cap_data_struct data[2];

	/* CAP_SETPCAP is for the securebit: not needed later. */
	return geteuid() == 0 && get_caps(data) == 0 && have(data, needed() | BIT(CAP_SETPCAP));
}

int fs_ids_enter(struct fs_server *s)
{
	struct __user_cap_data_struct data[2];
	int r;

	if (!s->as_root)
		return 0;
	r = get_caps(data);
	if (r < 0)
		return r;
	r = want_no_fixup();
	if (r < 0)
		return r;
	if (!have(data, needed()))
		return -EPERM;
	s->permitted[0] = data[0].permitted;
	s->permitted[1] = data[1].permitted;
	s->fsuid = (uint32_t)setfsuid((uid_t)-1);
	s->fsgid = (uint32_t)setfsgid((gid_t)-1);
	s->fsetid = true;
	return 0;
}

int fs_ids_become(struct fs_server *s, uint32_t uid, uint32_t gid)
{
	if (!s->as_root)
		return 0;
	if (s->fsgid != gid) {
		setfsgid(gid);
		s->fsgid = (uint32_t)setfsgid((gid_t)-1);
	}
	if (s->fsuid != uid) {
		setfsuid(uid);
		s->fsuid = (uint32_t)setfsuid((uid_t)-1);
	}
	/* An id that the host's user name space does not have. */
	return s->fsuid == uid && s->fsgid == gid ? 0 : -EPERM;
}

void fs_ids_keep_bits(struct fs_server *s, bool keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .permitted = s->permitted[0], .effective = s->permitted[0] },
		{ .permitted = s->permitted[1], .effective = s->permitted[1] },
	};

	if (!s->as_root || s->fsetid == keep)
		return;
	if (!keep)
		data[0].effective &= ~(1U << CAP_FSETID);
	if (syscall(SYS_capset, &header, data) == 0)
		s->fsetid = keep;
}

/* Swap the server's own id with root's; all others are what they are. */
static uint32_t swap(const struct fs_server *s, uint32_t own, uint32_t id)
{
	if (s->as_root)
		return id;
	return id == own ? 0 : id == 0 ? own : id;
}

uint32_t fs_uid_to_guest(const struct fs_server *s, uint32_t uid)
{
	return swap(s, s->uid, uid);
}

uint32_t fs_gid_to_guest(const struct fs_server *s, uint32_t gid)
{
	return swap(s, s->gid, gid);
}

uint32_t fs_uid_to_host(const struct fs_server *s, uint32_t uid)
{
	return swap(s, s->uid, uid);
}

uint32_t fs_gid_to_host(const struct fs_server *s, uint32_t gid)
{
	return swap(s, s->gid, gid);
}
