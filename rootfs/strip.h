/*
 * What a guest's kernel does with a module but need not: check its signature (hashing every byte,
 * and arithmetic on long numbers) and the type information for BPF (.BTF, nearly half the file).
 * Together they are most of the time that loading takes, and these modules come from the host's own
 * disk, which vouches for the kernel itself, too.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Take both out of the module @elf of @len bytes, in place; returns its new length. A module that
 * registers functions for BPF keeps its types, without which it would not load. Whatever does not
 * look as expected is left as it is: the kernel has the last word on it.
 */
size_t strip_module(uint8_t *elf, size_t len);
