/*
 * The three hardware descriptions, byte by byte as a guest finds them, and through the tools that
 * know their formats: iasl for ACPI, dtc for the device tree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "images.h"

#include "util/macros.h"

#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct guest_memory mem;
static char folder[] = "/tmp/microvm-boot-XXXXXX";

static void load(enum boot_hw hw, unsigned cpus, unsigned devices)
{
	struct boot_params_in in = test_params();
	uint8_t *image = test_bzimage();
	struct boot_entry entry;
	struct error err = { 0 };

	memory_destroy(&mem);
	assert_int_equal(memory_create(&mem, 5 * GIB, NULL), 0);
	in.hw = hw;
	in.cpus = cpus;
	in.devices = devices;
	in.device = test_devices;
	if (test_load(&mem, image, TEST_BZIMAGE, &in, &entry, &err) < 0)
		fail_msg("%s", err.msg);
	free(image);
}

static uint8_t sum(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

static uint32_t get32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static const struct boot_params *zero_page(void)
{
	return memory_at(&mem, LAYOUT_ZERO_PAGE, 4096);
}

static void need(const char *tool)
{
	char command[64];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", tool);
	if (system(command)) {
		print_message("%s is not installed\n", tool);
		skip();
	}
}

static void put_file(const char *name, const void *bytes, size_t n)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
}

static size_t get_file(const char *name, uint8_t *bytes, size_t size)
{
	char path[64];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(bytes, 1, size, f);
	fclose(f);
	return n;
}

/* Run a shell command in the folder; it must succeed and say nothing that matches @complaints. */
static void run(const char *command, const char *complaints)
{
	char line[512];

	snprintf(line, sizeof(line),
		"cd %s && { %s; } >out 2>&1 || { cat out; false; } && "
		"{ ! grep -E '%s' out; }",
		folder, command, complaints);
	if (system(line))
		fail_msg("%s", command);
}

/* ACPI ---------------------------------------------------------------------------------------- */

/* The table with this signature, from the RSDP on as a guest goes; its checksum is right. */
static const uint8_t *acpi_table(const char *signature, uint32_t *length)
{
	const uint8_t *rsdp = memory_at(&mem, zero_page()->acpi_rsdp_addr, 36);
	const uint8_t *xsdt, *table = NULL;
	uint32_t n;

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	xsdt = memory_at(&mem, get64(rsdp + 24), 36);
	assert_memory_equal(xsdt, "XSDT", 4);
	n = get32(xsdt + 4);
	assert_int_equal(sum(xsdt, n), 0);
	for (uint32_t i = 36; i < n; i += 8) {
		const uint8_t *t = memory_at(&mem, get64(xsdt + i), 36);

		if (!memcmp(t, signature, 4))
			table = t;
		if (!memcmp(t, "FACP", 4) && !memcmp(signature, "DSDT", 4))
			table = memory_at(&mem, get64(t + 140), 36);
	}
	assert_non_null(table);
	assert_memory_equal(table, signature, 4);
	*length = get32(table + 4);
	assert_int_equal(sum(table, *length), 0);
	assert_true(
		table + *length <= (uint8_t *)memory_at(&mem, LAYOUT_ACPI, 1) + LAYOUT_ACPI_MAX);
	return table;
}

static void acpi_fadt(void **state)
{
	const uint8_t *fadt;
	uint32_t n;

	load(BOOT_HW_ACPI, 1, 3);
	fadt = acpi_table("FACP", &n);
	assert_int_equal(n, 276);
	assert_int_equal(fadt[8], 6);
	assert_true(get32(fadt + 112) & 1 << 20);	    /* hardware-reduced */
	assert_true(get32(fadt + 112) & 1 << 10);	    /* reset register */
	assert_int_equal(fadt[109] | fadt[110] << 8, 0x24); /* no 8042, no VGA, no RTC */
	assert_int_equal(get64(fadt + 120), LAYOUT_PORT_ACPI_RESET);
	assert_int_equal(fadt[128], LAYOUT_ACPI_RESET_BYTE);
	assert_int_equal(fadt[244], 1); /* sleep control and status are ports */
	assert_int_equal(get64(fadt + 248), LAYOUT_PORT_ACPI_SLEEP);
	assert_int_equal(fadt[256], 1);
	assert_int_equal(get64(fadt + 260), LAYOUT_PORT_ACPI_SLEEP + 1);
}

static void acpi_madt(void **state)
{
	static const unsigned counts[] = { 1, 4, BOOT_CPUS_MAX };

	for (unsigned c = 0; c < ARRAY_SIZE(counts); c++) {
		unsigned cpus = 0;
		unsigned ioapics = 0;
		const uint8_t *madt;
		uint32_t n;

		load(BOOT_HW_ACPI, counts[c], 0);
		madt = acpi_table("APIC", &n);
		assert_int_equal(get32(madt + 36), LAYOUT_LAPIC);
		assert_int_equal(get32(madt + 40), 0); /* no PCAT_COMPAT */
		for (uint32_t i = 44; i < n; i += madt[i + 1]) {
			if (madt[i] == 0) {
				assert_int_equal(madt[i + 3], cpus++);
				assert_int_equal(madt[i + 4], 1);
			} else {
				assert_int_equal(madt[i], 1);
				assert_int_equal(get32(madt + i + 4), LAYOUT_IOAPIC);
				assert_int_equal(get32(madt + i + 8), 0);
				ioapics++;
			}
		}
		assert_int_equal(cpus, counts[c]);
		assert_int_equal(ioapics, 1);
	}
}

/* iasl takes every table apart without a complaint, and what it makes of them again is the same. */
static void acpi_iasl(void **state)
{
	static const char *const tables[] = { "XSDT", "FACP", "APIC", "DSDT" };
	static const unsigned devices[] = { 0, 1, LAYOUT_VIRTIO_MAX };
	uint8_t again[LAYOUT_ACPI_MAX];

	need("iasl");
	for (unsigned i = 0; i < ARRAY_SIZE(tables) * ARRAY_SIZE(devices); i++) {
		const char *name = tables[i % 4];
		const uint8_t *table;
		char command[128];
		uint32_t n;

		load(BOOT_HW_ACPI, 4, devices[i / 4]);
		if (strcmp(name, "XSDT"))
			table = acpi_table(name, &n);
		else
			table = memory_at(
				&mem, get64((uint8_t *)memory_at(&mem, LAYOUT_ACPI, 36) + 24), 36);
		n = get32(table + 4);
		put_file("t.aml", table, n);
		snprintf(command, sizeof(command),
			"rm -f t.dsl again.aml; iasl -d t.aml && iasl -oa -p again t.dsl");
		run(command,
			"[1-9][0-9]* (Errors|Warnings|Remarks)|^(Error|Warning|Remark)|ACPI Error");
		assert_int_equal(get_file("again.aml", again, sizeof(again)), n);
		/* The checksum and the creator's name in the header differ. */
		assert_memory_equal(again, table, 9);
		assert_memory_equal(again + 10, table + 10, 18);
		assert_memory_equal(again + 36, table + 36, n - 36);
	}
}

static void acpi_dsdt_words(void **state)
{
	const uint8_t *dsdt;
	uint8_t text[65536];
	uint32_t n;

	need("iasl");
	load(BOOT_HW_ACPI, 1, LAYOUT_VIRTIO_MAX);
	dsdt = acpi_table("DSDT", &n);
	put_file("dsdt.aml", dsdt, n);
	run("iasl -d dsdt.aml", "Error");
	n = (uint32_t)get_file("dsdt.dsl", text, sizeof(text) - 1);
	text[n] = 0;
	assert_non_null(strstr((char *)text, "EisaId (\"PNP0501\")"));
	assert_non_null(strstr((char *)text, "\"LNRO0005\""));
	assert_non_null(strstr((char *)text, "0xD0012000,         // Address Base"));
	assert_non_null(strstr((char *)text, "0x00000017,"));
	assert_non_null(strstr((char *)text, "Interrupt (ResourceConsumer, Edge, ActiveHigh,"));
	assert_non_null(strstr((char *)text, "Name (_S5, Package (0x04)"));
}

/* MP table ------------------------------------------------------------------------------------ */

static void mp_table(void **state)
{
	static const uint8_t size[] = { 20, 8, 8, 8, 8 };
	static const unsigned counts[] = { 1, 2, 37, 38, BOOT_CPUS_MAX };

	for (unsigned c = 0; c < ARRAY_SIZE(counts); c++) {
		unsigned seen[5] = { 0 };
		const uint8_t *p, *t, *e;
		uint16_t length;

		load(BOOT_HW_CMDLINE, counts[c], 2);
		p = memory_at(&mem, LAYOUT_EBDA, 16);
		assert_memory_equal(p, "_MP_", 4);
		assert_int_equal(p[8], 1);
		assert_int_equal(sum(p, 16), 0);
		t = memory_at(&mem, get32(p + 4), 44);
		assert_memory_equal(t, "PCMP", 4);
		length = (uint16_t)(t[4] | t[5] << 8);
		assert_int_equal(sum(t, length), 0);
		assert_true(get32(p + 4) >= LAYOUT_ACPI);
		assert_true(get32(p + 4) + length <= LAYOUT_ACPI + LAYOUT_ACPI_MAX);
		assert_int_equal(get32(t + 36), LAYOUT_LAPIC);
		for (e = t + 44; e < t + length; e += size[e[0]]) {
			assert_true(e[0] < 5);
			if (e[0] == 0) {
				assert_int_equal(e[1], seen[0]);
				assert_int_equal(e[3], seen[0] ? 1 : 3);
			} else if (e[0] == 2) {
				assert_int_equal(e[1], counts[c]); /* an id of its own */
				assert_int_equal(get32(e + 4), LAYOUT_IOAPIC);
			} else if (e[0] == 3) {
				assert_int_equal(e[5], seen[3]);
				assert_int_equal(e[7], seen[3]);
				assert_int_equal(e[6], counts[c]);
			}
			seen[e[0]]++;
		}
		assert_ptr_equal(e, t + length);
		assert_int_equal(seen[0], counts[c]);
		assert_int_equal(seen[1], 1);
		assert_int_equal(seen[2], 1);
		assert_int_equal(seen[3], LAYOUT_IOAPIC_PINS);
		assert_int_equal(seen[4], 2);
		assert_int_equal(t[34] | t[35] << 8, counts[c] + 1 + 1 + 24 + 2);
	}
}

/* Device tree --------------------------------------------------------------------------------- */

static const void *device_tree(void)
{
	gpa_t at = zero_page()->hdr.setup_data;
	const struct setup_data *node;

	for (;; at = node->next) {
		node = memory_at(&mem, at, sizeof(*node));
		assert_non_null(node);
		if (node->type == SETUP_DTB)
			break;
	}
	assert_int_equal(fdt_check_full(node->data, node->len), 0);
	return node->data;
}

static int count_compatible(const void *fdt, const char *compatible)
{
	int n = 0;
	int at = -1;

	while ((at = fdt_node_offset_by_compatible(fdt, at, compatible)) >= 0)
		n++;
	return n;
}

static void fdt_contents(void **state)
{
	char path[64];
	const void *fdt;

	load(BOOT_HW_FDT, BOOT_CPUS_MAX, LAYOUT_VIRTIO_MAX);
	assert_int_equal(zero_page()->acpi_rsdp_addr, 0);
	fdt = device_tree();
	assert_int_equal(count_compatible(fdt, "virtio,mmio"), LAYOUT_VIRTIO_MAX);
	assert_int_equal(count_compatible(fdt, "intel,ce4100-lapic"), 1);
	assert_int_equal(count_compatible(fdt, "intel,ce4100-ioapic"), 1);
	assert_int_equal(count_compatible(fdt, "ns16550a"), 1);
	assert_true(fdt_path_offset(fdt, "/cpus/cpu@3f") >= 0);
	assert_true(fdt_path_offset(fdt, "/cpus/cpu@40") < 0);
	assert_true(fdt_path_offset(fdt, "/memory@100000000") >= 0);
	for (unsigned i = 0; i < LAYOUT_VIRTIO_MAX; i++) {
		const fdt32_t *cell;
		int node, n;

		snprintf(path, sizeof(path), "/soc/virtio@%llx",
			(unsigned long long)test_devices[i].base);
		node = fdt_path_offset(fdt, path);
		assert_true(node >= 0);
		cell = fdt_getprop(fdt, node, "interrupts", &n);
		assert_int_equal(n, 8);
		assert_int_equal(fdt32_to_cpu(cell[0]), test_devices[i].gsi);
		assert_int_equal(fdt32_to_cpu(cell[1]), 3); /* edge, active high */
		cell = fdt_getprop(fdt, node, "reg", &n);
		assert_int_equal(n, 16);
		assert_int_equal(fdt32_to_cpu(cell[1]), test_devices[i].base);
		assert_int_equal(fdt32_to_cpu(cell[3]), test_devices[i].size);
	}
}

static void fdt_dtc(void **state)
{
	static const unsigned devices[] = { 0, 1, LAYOUT_VIRTIO_MAX };
	const void *fdt;

	need("dtc");
	for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
		load(BOOT_HW_FDT, i + 1, devices[i]);
		fdt = device_tree();
		put_file("t.dtb", fdt, fdt_totalsize(fdt));
		run("dtc -I dtb -O dts -o t.dts t.dtb && dtc -I dts -O dtb -o again.dtb t.dts",
			"Warning|ERROR|FATAL");
	}
}

static int setup(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[64];

	memory_destroy(&mem);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(acpi_fadt),
		cmocka_unit_test(acpi_madt),
		cmocka_unit_test(acpi_iasl),
		cmocka_unit_test(acpi_dsdt_words),
		cmocka_unit_test(mp_table),
		cmocka_unit_test(fdt_contents),
		cmocka_unit_test(fdt_dtc),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
