// SPDX-License-Identifier: GPL-2.0-only
/*
 * FLBs: global data that goes with files. Each is a page that holds its own name.
 */

#include <linux/cleanup.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "luo_cts.h"

#if LUO_CTS_FLB

/* More than LUO takes. */
#define FLBS	80

struct flb {
	struct liveupdate_flb flb;
	struct liveupdate_flb_ops ops;
	struct module owner;
	char name[LUO_CTS_NAME];
	unsigned int handlers;
	bool made;
	bool empty;
};

static struct flb flbs[FLBS];
static DEFINE_MUTEX(lock);

static struct flb *flb_of(struct liveupdate_flb *flb)
{
	return container_of(flb, struct flb, flb);
}

static int preserve(struct liveupdate_flb_op_args *args)
{
	struct flb *flb = flb_of(args->flb);
	long err = luo_cts_called(LUO_CTS_FLB_PRESERVE, flb->name, "-", 0);
	char *page;

	if (err)
		return err;
	page = kho_alloc_preserve(PAGE_SIZE);
	if (IS_ERR(page))
		return PTR_ERR(page);
	strscpy(page, flb->name, LUO_CTS_NAME);
	args->data = virt_to_phys(page);
	args->obj = flb->empty ? NULL : page;
	return 0;
}

/* Whether the object is what the data stands for. */
static bool matches(struct liveupdate_flb_op_args *args, struct flb *flb)
{
	char *page = args->obj;

	return page && args->data == virt_to_phys(page) && !strcmp(page, flb->name);
}

static void unpreserve(struct liveupdate_flb_op_args *args)
{
	struct flb *flb = flb_of(args->flb);

	luo_cts_called(LUO_CTS_FLB_UNPRESERVE, flb->name, "-", matches(args, flb));
	kho_unpreserve_free(phys_to_virt(args->data));
}

static int retrieve(struct liveupdate_flb_op_args *args)
{
	struct flb *flb = flb_of(args->flb);
	long err = luo_cts_called(LUO_CTS_FLB_RETRIEVE, flb->name, "-", 0);
	struct folio *folio;

	if (err)
		return err;
	folio = kho_restore_folio(args->data);
	if (!folio)
		return -EIO;
	args->obj = folio_address(folio);
	return 0;
}

static void finish(struct liveupdate_flb_op_args *args)
{
	struct flb *flb = flb_of(args->flb);
	char *page = args->obj;

	luo_cts_called(LUO_CTS_FLB_FINISH, flb->name, "-", page && !strcmp(page, flb->name));
	if (page)
		free_page((unsigned long)page);
}

static const struct liveupdate_flb_ops all_ops = {
	.preserve	= preserve,
	.unpreserve	= unpreserve,
	.retrieve	= retrieve,
	.finish		= finish,
};

static struct flb *flb_find(const char *name)
{
	for (int i = 0; i < FLBS; i++)
		if (flbs[i].made && !strcmp(flbs[i].name, name))
			return &flbs[i];
	return NULL;
}

static int leave_out(struct liveupdate_flb_ops *ops, const char *op)
{
	switch (match_string(luo_cts_ops, LUO_CTS_OPS, op)) {
	case LUO_CTS_FLB_PRESERVE:
		ops->preserve = NULL;
		return 0;
	case LUO_CTS_FLB_UNPRESERVE:
		ops->unpreserve = NULL;
		return 0;
	case LUO_CTS_FLB_RETRIEVE:
		ops->retrieve = NULL;
		return 0;
	case LUO_CTS_FLB_FINISH:
		ops->finish = NULL;
		return 0;
	}
	return -ENOENT;
}

/* flb-make NAME COMPATIBLE [empty|WITHOUT...]: known to this module, not to LUO. */
static int command_make(char **words, int count, struct seq_buf *answer)
{
	struct flb *flb = NULL;

	guard(mutex)(&lock);
	if (flb_find(words[0]))
		return -EEXIST;
	for (int i = 0; i < FLBS && !flb; i++)
		if (!flbs[i].made)
			flb = &flbs[i];
	if (!flb)
		return -ENFILE;
	memset(flb, 0, sizeof(*flb));
	flb->ops = all_ops;
	for (int i = 2; i < count; i++) {
		int err = 0;

		if (strcmp(words[i], "empty"))
			err = leave_out(&flb->ops, words[i]);
		else
			flb->empty = true;
		if (err)
			return err;
	}
	luo_cts_module_init(&flb->owner);
	flb->ops.owner = &flb->owner;
	flb->flb.ops = &flb->ops;
	strscpy(flb->name, words[0], sizeof(flb->name));
	strscpy((char *)flb->flb.compatible, words[1], sizeof(flb->flb.compatible));
	flb->made = true;
	return 0;
}

/* flb-drop NAME */
static int command_drop(char **words, int count, struct seq_buf *answer)
{
	struct flb *flb;

	guard(mutex)(&lock);
	flb = flb_find(words[0]);
	if (!flb)
		return -ENOENT;
	if (flb->handlers)
		return -EBUSY;
	flb->made = false;
	return 0;
}

static struct flb *flb_get(const char *name)
{
	guard(mutex)(&lock);
	return flb_find(name);
}

static struct liveupdate_file_handler *handler_get(const char *name)
{
	return strcmp(name, "-") ? luo_cts_handler(name) : luo_cts_unregistered_handler();
}

/* flb-add HANDLER NAME; the handler "-" was never registered. */
static int command_add(char **words, int count, struct seq_buf *answer)
{
	struct liveupdate_file_handler *fh = handler_get(words[0]);
	struct flb *flb = flb_get(words[1]);
	int err;

	if (!fh || !flb)
		return -ENXIO;
	err = liveupdate_register_flb(fh, &flb->flb);
	if (!err)
		flb->handlers++;
	return err;
}

/* flb-del HANDLER NAME: what is not linked is passed on as well. */
static int command_del(char **words, int count, struct seq_buf *answer)
{
	struct liveupdate_file_handler *fh = handler_get(words[0]);
	struct flb *flb = flb_get(words[1]);
	int err = 0;

	if (!fh || !flb)
		return -ENXIO;
#if LUO_CTS_7_1
	liveupdate_unregister_flb(fh, &flb->flb);
#else
	err = liveupdate_unregister_flb(fh, &flb->flb);
#endif
	if (!err && flb->handlers)
		flb->handlers--;
	return err;
}

static void tell_object(struct seq_buf *answer, void *object)
{
	seq_buf_printf(answer, "%s\n", object ? (char *)object : "-");
}

/* flb-get-in NAME: the name that the object holds, "-" where there is none. */
static int command_get_in(char **words, int count, struct seq_buf *answer)
{
	struct flb *flb = flb_get(words[0]);
	void *object = NULL;
	int err;

	if (!flb)
		return -ENXIO;
	err = liveupdate_flb_get_incoming(&flb->flb, &object);
	if (!err)
		tell_object(answer, object);
	return err;
}

static int command_get_out(char **words, int count, struct seq_buf *answer)
{
	struct flb *flb = flb_get(words[0]);
	void *object = NULL;
	int err;

	if (!flb)
		return -ENXIO;
	err = liveupdate_flb_get_outgoing(&flb->flb, &object);
	if (!err)
		tell_object(answer, object);
	return err;
}

/* flb-put-in NAME, flb-put-out NAME: where a release does not count who uses an object, there is nothing to do. */
static int command_put_in(char **words, int count, struct seq_buf *answer)
{
	struct flb *flb = flb_get(words[0]);

	if (!flb)
		return -ENXIO;
#if LUO_CTS_7_1
	liveupdate_flb_put_incoming(&flb->flb);
#endif
	return 0;
}

static int command_put_out(char **words, int count, struct seq_buf *answer)
{
	struct flb *flb = flb_get(words[0]);

	if (!flb)
		return -ENXIO;
#if LUO_CTS_7_2
	liveupdate_flb_put_outgoing(&flb->flb);
#endif
	return 0;
}

/* flb-owner NAME [live|going], as handler-owner. */
static int command_owner(char **words, int count, struct seq_buf *answer)
{
	struct flb *flb = flb_get(words[0]);

	if (!flb)
		return -ENXIO;
	if (count > 1)
		flb->owner.state = strcmp(words[1], "live") ? MODULE_STATE_GOING : MODULE_STATE_LIVE;
	seq_buf_printf(answer, "%d\n", atomic_read(&flb->owner.refcnt) - 1);
	return 0;
}

const struct luo_cts_command luo_cts_flb_commands[] = {
	{ "flb-make", 2, 2 + LUO_CTS_OPS, command_make },
	{ "flb-drop", 1, 1, command_drop },
	{ "flb-add", 2, 2, command_add },
	{ "flb-del", 2, 2, command_del },
	{ "flb-get-in", 1, 1, command_get_in },
	{ "flb-get-out", 1, 1, command_get_out },
	{ "flb-put-in", 1, 1, command_put_in },
	{ "flb-put-out", 1, 1, command_put_out },
	{ "flb-owner", 1, 2, command_owner },
	{}
};

#else

const struct luo_cts_command luo_cts_flb_commands[] = { {} };

#endif
