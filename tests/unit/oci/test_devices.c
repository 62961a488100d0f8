/* The program that keeps devices from a container, run here by the few instructions that it has. */
#include "oci/devices.h"

#include <errno.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

enum { R = BPF_DEVCG_ACC_READ, W = BPF_DEVCG_ACC_WRITE, M = BPF_DEVCG_ACC_MKNOD };

static struct oci_device_filter filter;

static uint64_t step(const struct bpf_insn *i, uint64_t *reg, const struct bpf_cgroup_dev_ctx *ctx)
{
	uint64_t from = BPF_SRC(i->code) == BPF_X ? reg[i->src_reg] : (uint64_t)(int64_t)i->imm;
	uint32_t word;

	switch (i->code) {
	case BPF_LDX | BPF_MEM | BPF_W:
		memcpy(&word, (const char *)ctx + i->off, sizeof(word));
		reg[i->dst_reg] = word;
		return 0;
	case BPF_ALU | BPF_MOV | BPF_X:
		reg[i->dst_reg] = (uint32_t)from;
		return 0;
	case BPF_ALU64 | BPF_MOV | BPF_K:
		reg[i->dst_reg] = from;
		return 0;
	case BPF_ALU | BPF_AND | BPF_K:
		reg[i->dst_reg] &= (uint32_t)from;
		return 0;
	case BPF_ALU | BPF_RSH | BPF_K:
		reg[i->dst_reg] = (uint32_t)reg[i->dst_reg] >> from;
		return 0;
	case BPF_JMP | BPF_JNE | BPF_K:
		return reg[i->dst_reg] != from ? (uint64_t)i->off : 0;
	case BPF_JMP | BPF_JEQ | BPF_K:
		return reg[i->dst_reg] == from ? (uint64_t)i->off : 0;
	default:
		fail_msg("instruction %#x", i->code);
	}
	return 0;
}

static bool allowed(char type, uint32_t major, uint32_t minor, unsigned access)
{
	const struct bpf_cgroup_dev_ctx ctx = {
		.access_type = access << 16 | (type == 'b' ? 1 : 2), .major = major, .minor = minor
	};
	const struct bpf_insn *program = filter.program;
	size_t count = filter.bytes / sizeof(*program);
	uint64_t reg[11] = { 0 };

	for (size_t at = 0; at < count; at++) {
		if (program[at].code == (BPF_JMP | BPF_EXIT))
			return reg[0];
		at += step(&program[at], reg, &ctx);
	}
	fail_msg("the program does not end");
	return false;
}

/* The kernel's own opinion, where we may ask for it. */
static void check_with_kernel(void)
{
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uintptr_t)filter.program,
		.insn_cnt = (uint32_t)(filter.bytes / sizeof(struct bpf_insn)),
		.license = (uintptr_t) "" };
	long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));

	if (fd < 0)
		assert_true(errno == EPERM || errno == ENOSYS);
	else
		close((int)fd);
}

static void make(struct oci_device_rule *rules, size_t count)
{
	struct oci_resources resources = { .device_rules = count, .device_rule = rules };

	assert_int_equal(oci_device_filter(&filter, &resources), 0);
	assert_non_null(filter.program);
	check_with_kernel();
}

static void rules(void **state)
{
	struct oci_device_rule some[] = {
		{ false, 'a', -1, -1, R | W | M },
		{ true, 'c', 10, 229, R },
		{ true, 'b', 8, -1, R | W },
		{ false, 'b', 8, 3, W },
	};

	make(some, 4);
	assert_true(allowed('c', 10, 229, R));
	assert_false(allowed('c', 10, 229, R | W));
	assert_false(allowed('c', 10, 200, R));
	assert_false(allowed('b', 10, 229, R));
	assert_true(allowed('b', 8, 1, R | W));
	assert_true(allowed('b', 8, 3, R));
	assert_false(allowed('b', 8, 3, R | W));
	assert_true(allowed('c', 77, 77, M)); /* a node is no use by itself */
	assert_true(allowed('c', 1, 3, R | W));
	assert_true(allowed('c', 136, 7, R | W));
	free(filter.program);
	make(some, 1);
	assert_false(allowed('b', 8, 1, R));
	assert_true(allowed('c', 1, 3, R | W | M)); /* nobody can be without /dev/null */
	free(filter.program);
}

static void none(void **state)
{
	struct oci_device_rule all = { true, 'a', -1, -1, R | W | M };
	struct oci_resources resources = { 0 };

	assert_int_equal(oci_device_filter(&filter, &resources), 0);
	assert_null(filter.program);
	resources = (struct oci_resources){
		.device_rules = 1, .device_rule = &all, .all_devices = true
	};
	assert_int_equal(oci_device_filter(&filter, &resources), 0);
	assert_null(filter.program);
	resources.all_devices = false;
	resources.device_rules = 100000;
	assert_int_equal(oci_device_filter(&filter, &resources), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules),
		cmocka_unit_test(none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
