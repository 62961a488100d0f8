#include "console/escape.h"

enum { CTRL_A = 1 };

size_t escape_filter(struct escape *escape, uint8_t *data, size_t len, unsigned *actions)
{
	size_t kept = 0;

	*actions = 0;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = data[i];

		if (!escape->pending) {
			if (c == CTRL_A)
				escape->pending = true;
			else
				data[kept++] = c;
			continue;
		}
		escape->pending = false;
		switch (c) {
		case 'x':
		case 'X':
			*actions |= ESCAPE_LEAVE;
			return kept;
		case 'h':
		case 'H':
		case '?':
			*actions |= ESCAPE_HELP;
			break;
		case CTRL_A:
		case 'a': /* as screen(1) has it */
			data[kept++] = CTRL_A;
			break;
		default: /* a slip of the finger */
			break;
		}
	}
	return kept;
}
