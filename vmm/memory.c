#include "vmm/memory.h"

#include "util/macros.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

/* Unmapped space on both sides, so that a stray host access faults instead of reading a neighbour. */
#define GUARD (2 * MIB)

static uint64_t host_ram(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return UINT64_MAX;
	return (uint64_t)info.totalram * info.mem_unit;
}

static int check_size(uint64_t bytes, struct error *err)
{
	uint64_t have = host_ram();

	if (bytes < MEMORY_MIN)
		return error_set(err, ERROR_USAGE, EINVAL,
			"--memory: %llu bytes is too little for a guest: give at least 4M",
			(unsigned long long)bytes);
	if (bytes % 4096)
		return error_set(err, ERROR_USAGE, EINVAL,
			"--memory: %llu bytes is not a multiple of 4 KiB",
			(unsigned long long)bytes);
	if (bytes > have)
		return error_set(err, ERROR_HOST, ENOMEM,
			"--memory: %llu MiB is more than the %llu MiB this host has: give less",
			(unsigned long long)(bytes / MIB), (unsigned long long)(have / MIB));
	return 0;
}

int memory_create(struct guest_memory *mem, uint64_t bytes, struct error *err)
{
	uint64_t low = MIN(bytes, LAYOUT_HOLE_START);
	uint8_t *host;
	int r;

	*mem = (struct guest_memory){ 0 };
	r = check_size(bytes, err);
	if (r < 0)
		return r;

	mem->mapping_size = bytes + 2 * GUARD;
	mem->mapping = mmap(NULL, mem->mapping_size, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem->mapping == MAP_FAILED) {
		mem->mapping = NULL;
		return error_set(err, ERROR_HOST, errno,
			"--memory: cannot reserve %llu MiB of address space: %m",
			(unsigned long long)(bytes / MIB));
	}
	/* 2 MiB alignment lets the host back the guest with huge pages. */
	host = (uint8_t *)align_up((uintptr_t)mem->mapping + 1, GUARD);
	if (mprotect(host, bytes, PROT_READ | PROT_WRITE) < 0) {
		r = error_set(err, ERROR_HOST, errno, "--memory: cannot get %llu MiB: %m",
			(unsigned long long)(bytes / MIB));
		memory_destroy(mem);
		return r;
	}
	/* Advice only: a host without huge pages runs as well, with more faults. */
	madvise(host, bytes, MADV_HUGEPAGE);
	madvise(host, bytes, MADV_DONTDUMP);

	mem->bytes = bytes;
	mem->regions = 1;
	mem->region[0] = (struct memory_region){ .base = 0, .size = low, .host = host };
	if (bytes > low) {
		mem->regions = 2;
		mem->region[1] = (struct memory_region){
			.base = LAYOUT_HOLE_END, .size = bytes - low, .host = host + low
		};
	}
	return 0;
}

void memory_destroy(struct guest_memory *mem)
{
	if (mem->mapping)
		munmap(mem->mapping, mem->mapping_size);
	*mem = (struct guest_memory){ 0 };
}

void *memory_at(const struct guest_memory *mem, gpa_t gpa, uint64_t len)
{
	if (!len)
		return NULL;
	for (unsigned i = 0; i < mem->regions; i++) {
		const struct memory_region *r = &mem->region[i];
		uint64_t offset = gpa - r->base; /* huge when gpa lies below: fails the next test */

		if (offset < r->size && len <= r->size - offset)
			return r->host + offset;
	}
	return NULL;
}

int memory_write(const struct guest_memory *mem, gpa_t gpa, const void *from, uint64_t len)
{
	void *to;

	if (!len)
		return 0;
	to = memory_at(mem, gpa, len);
	if (!to)
		return -EFAULT;
	memcpy(to, from, len);
	return 0;
}

gpa_t memory_low_end(const struct guest_memory *mem)
{
	return mem->region[0].size;
}
