#include "oci/devices.h"

#include "util/macros.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>

enum {
	READ = BPF_DEVCG_ACC_READ,
	WRITE = BPF_DEVCG_ACC_WRITE,
	MKNOD = BPF_DEVCG_ACC_MKNOD,
	EVERYTHING = READ | WRITE | MKNOD,
	INSNS_MAX = 4096, /* that a kernel takes from everybody */
	RULE_INSNS = 10,  /* at most */
};

/* What every container may use, whatever its configuration says, as with other runtimes. */
static const struct oci_device_rule usual[] = {
	{ true, 'c', -1, -1, MKNOD }, { true, 'b', -1, -1, MKNOD },
	{ true, 'c', 1, 3, EVERYTHING },    /* null */
	{ true, 'c', 1, 5, EVERYTHING },    /* zero */
	{ true, 'c', 1, 7, EVERYTHING },    /* full */
	{ true, 'c', 1, 8, EVERYTHING },    /* random */
	{ true, 'c', 1, 9, EVERYTHING },    /* urandom */
	{ true, 'c', 5, 0, EVERYTHING },    /* tty */
	{ true, 'c', 5, 1, EVERYTHING },    /* console */
	{ true, 'c', 5, 2, EVERYTHING },    /* ptmx */
	{ true, 'c', 136, -1, EVERYTHING }, /* pts */
};

struct program {
	struct bpf_insn *insn;
	size_t count;
};

static void add(struct program *p, uint8_t code, uint8_t to, uint8_t from, int16_t off, int32_t imm)
{
	p->insn[p->count++] = (struct bpf_insn){
		.code = code, .dst_reg = to, .src_reg = from, .off = off, .imm = imm
	};
}

/* A jump to behind this rule, if register @reg and @imm are (not) equal; fixed up by end_rule(). */
static void pass_over(struct program *p, uint8_t op, uint8_t reg, int64_t imm)
{
	add(p, (uint8_t)(BPF_JMP | op | BPF_K), reg, 0, -1, (int32_t)imm);
}

static void end_rule(struct program *p, size_t first)
{
	for (size_t i = first; i < p->count; i++)
		if (p->insn[i].off == -1 && BPF_CLASS(p->insn[i].code) == BPF_JMP)
			p->insn[i].off = (int16_t)(p->count - i - 1);
}

/* The registers: 2 access, 3 kind of device, 4 major, 5 minor. */
static void add_begin(struct program *p)
{
	const uint8_t load = BPF_LDX | BPF_MEM | BPF_W;

	add(p, load, 2, 1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	add(p, BPF_ALU | BPF_MOV | BPF_X, 3, 2, 0, 0);
	add(p, BPF_ALU | BPF_AND | BPF_K, 3, 0, 0, 0xffff);
	add(p, BPF_ALU | BPF_RSH | BPF_K, 2, 0, 0, 16);
	add(p, load, 4, 1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	add(p, load, 5, 1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
}

static void add_answer(struct program *p, bool allow)
{
	add(p, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, allow);
	add(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Whether it fits everything: what came behind it would never be reached, which kernels refuse. */
static bool add_rule(struct program *p, const struct oci_device_rule *rule)
{
	size_t first = p->count;

	if (rule->type != 'a')
		pass_over(p, BPF_JNE, 3,
			rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	if (rule->access != EVERYTHING) {
		/* Allowed is what is wholly within it; forbidden what has any of it. */
		add(p, BPF_ALU | BPF_MOV | BPF_X, 1, 2, 0, 0);
		add(p, BPF_ALU | BPF_AND | BPF_K, 1, 0, 0,
			(int32_t)(rule->allow ? EVERYTHING & ~rule->access : rule->access));
		pass_over(p, rule->allow ? BPF_JNE : BPF_JEQ, 1, 0);
	}
	if (rule->major >= 0)
		pass_over(p, BPF_JNE, 4, rule->major);
	if (rule->minor >= 0)
		pass_over(p, BPF_JNE, 5, rule->minor);
	add_answer(p, rule->allow);
	end_rule(p, first);
	return p->count == first + 2;
}

int oci_device_filter(struct oci_device_filter *out, const struct oci_resources *resources)
{
	size_t most = (resources->device_rules + ARRAY_SIZE(usual) + 1) * RULE_INSNS;
	struct program p = { 0 };
	bool over = false;

	*out = (struct oci_device_filter){ 0 };
	if (!resources->device_rules || resources->all_devices)
		return 0;
	if (most > INSNS_MAX)
		return -E2BIG;
	p.insn = calloc(most, sizeof(*p.insn));
	if (!p.insn)
		return -ENOMEM;
	add_begin(&p);
	for (size_t i = ARRAY_SIZE(usual); i-- > 0;)
		add_rule(&p, &usual[i]);
	for (size_t i = resources->device_rules; i-- > 0 && !over;)
		over = add_rule(&p, &resources->device_rule[i]);
	if (!over)
		add_answer(&p, false);
	*out = (struct oci_device_filter){ p.insn, p.count * sizeof(*p.insn) };
	return 0;
}
