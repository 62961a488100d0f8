/* "Did you mean": the known word that is nearest to one that was mistyped. */
#pragma once

#include <stddef.h>

/*
 * The best of @count words for @typed: one that it begins, or one that is a few slips of the finger
 * away. NULL where nothing is near.
 */
const char *suggest(const char *typed, const char *const *words, size_t count);
