#include "oci/seccomp.h"

#include "agent/agent.h"
#include "oci/config_internal.h"
#include "util/cleanup.h"
#include "util/macros.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { ARGS_MAX = 6, ERRNO_MAX = 4095 };

/* Without their prefix SCMP_ACT_. ERRNO and TRACE carry a number beside. */
static const struct {
	const char *name;
	uint32_t action;
} actions[] = {
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0) },
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0) },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
};

static const struct {
	const char *name;
	enum scmp_compare op;
} operators[] = {
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
};

/* All that the specification names; the guest runs programs of the first of these lines only. */
static const struct {
	const char *name;
	uint32_t arch; /* 0: of machines that the guest is not */
} arches[] = {
#if defined(__x86_64__)
	{ "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64 },
	{ "SCMP_ARCH_X86", SCMP_ARCH_X86 },
	{ "SCMP_ARCH_X32", SCMP_ARCH_X32 },
	{ "SCMP_ARCH_AARCH64", 0 },
	{ "SCMP_ARCH_ARM", 0 },
#elif defined(__aarch64__)
	{ "SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64 },
	{ "SCMP_ARCH_ARM", SCMP_ARCH_ARM },
	{ "SCMP_ARCH_X86_64", 0 },
	{ "SCMP_ARCH_X86", 0 },
	{ "SCMP_ARCH_X32", 0 },
#else
#error "no such guest"
#endif
	{ "SCMP_ARCH_LOONGARCH64", 0 },
	{ "SCMP_ARCH_M68K", 0 },
	{ "SCMP_ARCH_MIPS", 0 },
	{ "SCMP_ARCH_MIPS64", 0 },
	{ "SCMP_ARCH_MIPS64N32", 0 },
	{ "SCMP_ARCH_MIPSEL", 0 },
	{ "SCMP_ARCH_MIPSEL64", 0 },
	{ "SCMP_ARCH_MIPSEL64N32", 0 },
	{ "SCMP_ARCH_PARISC", 0 },
	{ "SCMP_ARCH_PARISC64", 0 },
	{ "SCMP_ARCH_PPC", 0 },
	{ "SCMP_ARCH_PPC64", 0 },
	{ "SCMP_ARCH_PPC64LE", 0 },
	{ "SCMP_ARCH_RISCV64", 0 },
	{ "SCMP_ARCH_S390", 0 },
	{ "SCMP_ARCH_S390X", 0 },
	{ "SCMP_ARCH_SH", 0 },
	{ "SCMP_ARCH_SHEB", 0 },
};

static const struct {
	const char *name;
	uint32_t flag;
} flags[] = {
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
};

#define NAME_OF(table)                                                     \
	const char *oci_seccomp_##table(unsigned i)                        \
	{                                                                  \
		return i < ARRAY_SIZE(table##s) ? table##s[i].name : NULL; \
	}

NAME_OF(action)
NAME_OF(operator)
NAME_OF(flag)

const char *oci_seccomp_arch(unsigned i)
{
	return i < ARRAY_SIZE(arches) ? arches[i].name : NULL;
}

/* The action called @key, with the number that may stand at @number_key. */
static int read_action(struct cfg *cfg, struct json_object *in, const char *key,
	const char *number_key, uint32_t *out)
{
	const char *name = "";
	int64_t number = EPERM;
	unsigned i = 0;
	bool has;
	int r;

	if ((r = cfg_need(cfg, in, key)) < 0 || (r = cfg_string(cfg, in, key, &name)) < 0 ||
		(r = cfg_int(cfg, in, number_key, 0, UINT16_MAX, &number, &has)) < 0)
		return r;
	if (!strcmp(name, "SCMP_ACT_NOTIFY"))
		return cfg_fail(cfg, key,
			"SCMP_ACT_NOTIFY: a process of the host cannot answer for the kernel of a "
			"machine");
	while (i < ARRAY_SIZE(actions) && strcmp(name, actions[i].name))
		i++;
	if (i == ARRAY_SIZE(actions))
		return cfg_fail(cfg, key, "'%s' is no action that is known here", name);
	*out = actions[i].action;
	if (*out == SCMP_ACT_ERRNO(0)) {
		if (number > ERRNO_MAX)
			return cfg_fail(cfg, number_key, "%lld is no error", (long long)number);
		*out = SCMP_ACT_ERRNO((uint32_t)number);
	} else if (*out == SCMP_ACT_TRACE(0)) {
		*out = SCMP_ACT_TRACE((uint32_t)number);
	} else if (has && number) {
		return cfg_fail(cfg, number_key, "means nothing for %s", name);
	}
	return 0;
}

static int read_arches(struct cfg *cfg, struct json_object *in, scmp_filter_ctx filter)
{
	struct oci_strings names = { 0 };
	int r = cfg_strings(cfg, in, "architectures", &names);

	for (size_t i = 0; r == 0 && i < names.count; i++) {
		unsigned k = 0;

		while (k < ARRAY_SIZE(arches) && strcmp(names.list[i], arches[k].name))
			k++;
		if (k == ARRAY_SIZE(arches))
			return cfg_fail(cfg, "architectures",
				"'%s' is no architecture that is known here", names.list[i]);
		if (!arches[k].arch)
			continue; /* the guest's kernel has no way to run such programs */
		r = seccomp_arch_add(filter, arches[k].arch);
		if (r < 0 && r != -EEXIST)
			return cfg_fail(
				cfg, "architectures", "%s: %s", names.list[i], strerror(-r));
		r = 0;
	}
	return r;
}

static int read_flags(struct cfg *cfg, struct json_object *in, uint32_t *out)
{
	struct oci_strings names = { 0 };
	int r = cfg_strings(cfg, in, "flags", &names);

	for (size_t i = 0; r == 0 && i < names.count; i++) {
		unsigned k = 0;

		if (!strcmp(names.list[i], "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"))
			continue; /* of SCMP_ACT_NOTIFY only, which there is none of */
		while (k < ARRAY_SIZE(flags) && strcmp(names.list[i], flags[k].name))
			k++;
		if (k == ARRAY_SIZE(flags))
			return cfg_fail(
				cfg, "flags", "'%s' is no flag that is known here", names.list[i]);
		*out |= flags[k].flag;
	}
	return r;
}

static int read_arg(struct cfg *cfg, struct json_object *in, struct scmp_arg_cmp *arg)
{
	const char *name = "";
	uint64_t value = 0, second = 0;
	int64_t index = 0;
	unsigned i = 0;
	int r;

	if ((r = cfg_need(cfg, in, "index")) < 0 || (r = cfg_need(cfg, in, "op")) < 0 ||
		(r = cfg_need(cfg, in, "value")) < 0 ||
		(r = cfg_int(cfg, in, "index", 0, ARGS_MAX - 1, &index, NULL)) < 0 ||
		(r = cfg_u64(cfg, in, "value", &value, NULL)) < 0 ||
		(r = cfg_u64(cfg, in, "valueTwo", &second, NULL)) < 0 ||
		(r = cfg_string(cfg, in, "op", &name)) < 0)
		return r;
	while (i < ARRAY_SIZE(operators) && strcmp(name, operators[i].name))
		i++;
	if (i == ARRAY_SIZE(operators))
		return cfg_fail(cfg, "op", "'%s' is no comparison that is known here", name);
	*arg = (struct scmp_arg_cmp){ (unsigned)index, operators[i].op, value, second };
	return 0;
}

/* One entry of linux.seccomp.syscalls. */
struct rule {
	struct oci_strings names;
	uint32_t action;
	size_t args;
	struct scmp_arg_cmp arg[ARGS_MAX];
	bool apart; /* an argument is looked at twice: any of the comparisons is enough, as for runc */
};

static int read_rule(struct cfg *cfg, struct json_object *in, struct rule *rule)
{
	struct json_object *args = NULL, *item;
	size_t count;
	int r;

	if ((r = cfg_need(cfg, in, "names")) < 0 ||
		(r = cfg_strings(cfg, in, "names", &rule->names)) < 0 ||
		(r = read_action(cfg, in, "action", "errnoRet", &rule->action)) < 0 ||
		(r = cfg_array(cfg, in, "args", &args, &count)) < 0)
		return r;
	if (!rule->names.count)
		return cfg_fail(cfg, "names", "is empty");
	if (count > ARGS_MAX)
		return cfg_fail(cfg, "args", "has more than %d items", ARGS_MAX);
	for (; rule->args < count; rule->args++) {
		size_t mark;

		if ((r = cfg_item(cfg, args, "args", rule->args, &item)) < 0)
			return r;
		mark = cfg_enter_item(cfg, "args", rule->args);
		if ((r = read_arg(cfg, item, &rule->arg[rule->args])) < 0)
			return r;
		cfg_leave(cfg, mark);
		for (size_t i = 0; i < rule->args; i++)
			rule->apart |= rule->arg[i].arg == rule->arg[rule->args].arg;
	}
	return 0;
}

static int add_rule(struct cfg *cfg, scmp_filter_ctx filter, const struct rule *rule)
{
	int r = 0;

	for (size_t i = 0; i < rule->names.count; i++) {
		int number = seccomp_syscall_resolve_name(rule->names.list[i]);

		if (number == __NR_SCMP_ERROR)
			continue;
		for (size_t k = 0; rule->apart && r == 0 && k < rule->args; k++)
			r = seccomp_rule_add_array(filter, rule->action, number, 1, &rule->arg[k]);
		if (!rule->apart)
			r = seccomp_rule_add_array(
				filter, rule->action, number, (unsigned)rule->args, rule->arg);
		if (r == -EEXIST)
			r = 0;
		if (r < 0)
			return cfg_fail(
				cfg, "names", "'%s': %s", rule->names.list[i], strerror(-r));
	}
	return 0;
}

static int read_rules(
	struct cfg *cfg, struct json_object *in, scmp_filter_ctx filter, uint32_t usual)
{
	struct json_object *array = NULL, *item;
	size_t count;
	int r = cfg_array(cfg, in, "syscalls", &array, &count);

	for (size_t i = 0; r == 0 && i < count; i++) {
		struct rule rule = { 0 };
		size_t mark;

		if ((r = cfg_item(cfg, array, "syscalls", i, &item)) < 0)
			return r;
		mark = cfg_enter_item(cfg, "syscalls", i);
		/* libseccomp wants no rules that say what holds anyway. */
		if ((r = read_rule(cfg, item, &rule)) < 0 ||
			(rule.action != usual && (r = add_rule(cfg, filter, &rule)) < 0))
			return r;
		cfg_leave(cfg, mark);
	}
	return r;
}

/* libseccomp writes programs to files only. */
static int export(struct cfg *cfg, scmp_filter_ctx filter, struct oci_filter *out)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct stat st = { 0 };
	int r;

	if (fd < 0)
		return error_set(cfg->err, ERROR_HOST, errno, "%s: memfd_create: %m", cfg->name);
	r = seccomp_export_bpf(filter, fd);
	if (r < 0 || fstat(fd, &st) < 0)
		return cfg_fail(
			cfg, NULL, "no filter can be made of it: %s", strerror(r < 0 ? -r : errno));
	if (st.st_size > AGENT_SECCOMP_MAX)
		return cfg_fail(cfg, NULL, "it makes a filter of more than 4096 instructions");
	out->bytes = (size_t)st.st_size;
	out->program = malloc(out->bytes);
	if (!out->program || pread(fd, out->program, out->bytes, 0) != st.st_size)
		return error_set(cfg->err, ERROR_HOST, ENOMEM, "%s: out of memory", cfg->name);
	return 0;
}

static int compile(struct cfg *cfg, struct json_object *in, struct oci_filter *out)
{
	scmp_filter_ctx filter;
	uint32_t usual;
	int r;

	if ((r = read_action(cfg, in, "defaultAction", "defaultErrnoRet", &usual)) < 0 ||
		(r = cfg_refuse(cfg, in, "listenerPath",
			 "a process of the host cannot answer for the kernel of a machine")) < 0 ||
		(r = read_flags(cfg, in, &out->flags)) < 0)
		return r;
	filter = seccomp_init(usual);
	if (!filter)
		return cfg_fail(cfg, NULL, "no filter can be made of it");
	r = read_arches(cfg, in, filter);
	if (r == 0)
		r = read_rules(cfg, in, filter, usual);
	/* A tree rather than a list: profiles name hundreds of calls. */
	if (r == 0)
		seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = export(cfg, filter, out);
	seccomp_release(filter);
	return r;
}

int oci_seccomp_compile(
	struct oci_filter *out, struct json_object *section, const char *name, struct error *err)
{
	struct cfg cfg = { .name = name, .err = err };
	int r;

	*out = (struct oci_filter){ 0 };
	if (!section)
		return 0;
	r = cfg_scratch(&cfg);
	if (r < 0)
		return r;
	cfg_enter(&cfg, "linux.seccomp");
	r = compile(&cfg, section, out);
	cfg_scratch_free(&cfg);
	if (r < 0)
		oci_seccomp_free(out);
	return r;
}

void oci_seccomp_free(struct oci_filter *filter)
{
	free(filter->program);
	*filter = (struct oci_filter){ 0 };
}
