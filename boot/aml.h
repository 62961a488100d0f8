/*
 * A small emitter of AML, the byte code of ACPI's DSDT (ACPI 6.4, chapter 20): just what our
 * devices need. Bytes go into a caller's buffer; what does not fit sets @full and is dropped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *out;
	size_t size;
	size_t len;
	bool full;
};

void aml_bytes(struct aml *a, const void *bytes, size_t n);
void aml_byte(struct aml *a, uint8_t byte);

/*
 * Scopes and their like hold a length in front of their content. aml_open() returns a mark for
 * aml_close(), which sets the length of all that came since. Innermost first.
 */
size_t aml_open(struct aml *a);
void aml_close(struct aml *a, size_t mark);

size_t aml_scope(struct aml *a, const char *name);  /* Scope (name) {; @name as for aml_name() */
size_t aml_device(struct aml *a, const char *name); /* Device (name) { */

/* A name of four characters, after "\\" for one from the root. */
void aml_name(struct aml *a, const char *name);

/* Name (name, value) */
void aml_name_integer(struct aml *a, const char *name, uint64_t value);
void aml_name_string(struct aml *a, const char *name, const char *value);
void aml_name_eisaid(struct aml *a, const char *name, const char *id); /* as "PNP0501" */
void aml_name_buffer(struct aml *a, const char *name, const void *bytes, size_t n);
void aml_name_package(struct aml *a, const char *name, const uint8_t *values, uint8_t n);

void aml_integer(struct aml *a, uint64_t value);
