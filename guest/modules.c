#include "guest/modules.h"

#include "guest/cmdline.h"
#include "guest/initramfs.h"
#include "guest/report.h"
#include "guest/sys.h"

void modules_load(const char *file, bool needed, const char *cmdline)
{
	struct text path = { 0 }, params = { 0 }, line = { 0 };
	long fd, err;

	text_add(&path, INITRAMFS_MODULES);
	text_add(&path, file);
	fd = sys_open(path.buf, O_RDONLY);
	err = fd;
	if (fd >= 0) {
		cmdline_module_params(&params, cmdline, file);
		err = sys_finit_module((int)fd, params.buf);
		sys_close((int)fd);
		sys_unlink(path.buf);
	}
	if (err >= 0 || err == -EEXIST || !needed)
		return;
	report_begin(&line);
	text_add(&line, "cannot load kernel module ");
	text_add(&line, file);
	report_add_error(&line, err);
	text_add(&line, "; are these the modules of this very kernel? (microvm --modules DIR)");
	report_fail(&line);
}
