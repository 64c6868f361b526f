// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files that can be preserved, and the handlers that do it.
 *
 * A file of /dev/luo-cts is given a name, and the names of the handlers that accept it. It holds up to a page
 * less its header. While it is frozen it cannot be written to.
 */

#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "luo_cts.h"

#define MAGIC		0x6c756f2d63747331ULL	/* "luo-cts1" */
#define HANDLERS	48
/* freeze() may give LUO another handle; this is what it changes. */
#define FROZEN		1ULL

/* The state of a file: in a page, so that it is what is handed over, too. */
struct state {
	u64 magic;
	char name[LUO_CTS_NAME];
	char kinds[LUO_CTS_NAME];
	u64 size;
	u8 content[];
};

#define CAPACITY	(PAGE_SIZE - sizeof(struct state))

struct file_data {
	struct mutex lock;
	struct state *state;
	bool frozen;
};

struct handler {
	struct liveupdate_file_handler fh;
	struct liveupdate_file_ops ops;
	struct module owner;
	char name[LUO_CTS_NAME];
	bool registered;
};

/* struct luo_cts_naming of fixtures/provider.py */
struct naming {
	char name[LUO_CTS_NAME];
	char kinds[LUO_CTS_NAME];
};

#define LUO_CTS_SET_NAME	_IOW('c', 1, struct naming)

static const struct file_operations fops;
static struct handler handlers[HANDLERS];
static DEFINE_MUTEX(handlers_lock);

static struct file_data *data_alloc(void)
{
	struct file_data *data = kzalloc(sizeof(*data), GFP_KERNEL);

	if (!data)
		return NULL;
	data->state = (struct state *)get_zeroed_page(GFP_KERNEL);
	if (!data->state) {
		kfree(data);
		return NULL;
	}
	data->state->magic = MAGIC;
	mutex_init(&data->lock);
	return data;
}

static void data_free(struct file_data *data)
{
	free_page((unsigned long)data->state);
	kfree(data);
}

static int device_open(struct inode *inode, struct file *file)
{
	file->private_data = data_alloc();
	return file->private_data ? 0 : -ENOMEM;
}

static int device_release(struct inode *inode, struct file *file)
{
	data_free(file->private_data);
	return 0;
}

static ssize_t device_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct file_data *data = file->private_data;

	guard(mutex)(&data->lock);
	return simple_read_from_buffer(to, size, at, data->state->content, data->state->size);
}

static ssize_t device_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct file_data *data = file->private_data;
	ssize_t wrote;

	guard(mutex)(&data->lock);
	if (data->frozen)
		return -EBUSY;
	wrote = simple_write_to_buffer(data->state->content, CAPACITY, at, from, size);
	if (wrote > 0)
		data->state->size = max_t(u64, data->state->size, *at);
	return wrote;
}

static long device_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct file_data *data = file->private_data;
	struct naming naming;

	if (command != LUO_CTS_SET_NAME)
		return -ENOTTY;
	if (copy_from_user(&naming, (void __user *)argument, sizeof(naming)))
		return -EFAULT;
	naming.name[LUO_CTS_NAME - 1] = 0;
	naming.kinds[LUO_CTS_NAME - 1] = 0;
	guard(mutex)(&data->lock);
	memcpy(data->state->name, naming.name, LUO_CTS_NAME);
	memcpy(data->state->kinds, naming.kinds, LUO_CTS_NAME);
	return 0;
}

static const struct file_operations fops = {
	.owner		= THIS_MODULE,
	.open		= device_open,
	.release	= device_release,
	.read		= device_read,
	.write		= device_write,
	.unlocked_ioctl	= device_ioctl,
	.llseek		= default_llseek,
};

static struct miscdevice device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "luo-cts",
	.fops	= &fops,
};

/* The callbacks */

static struct handler *handler_of(struct liveupdate_file_handler *fh)
{
	return container_of(fh, struct handler, fh);
}

/* What was preserved, wherever it is known from. */
static struct state *preserved(struct liveupdate_file_op_args *args)
{
	return phys_to_virt(args->serialized_data & ~FROZEN);
}

static const char *name_of(struct liveupdate_file_op_args *args)
{
	struct file_data *data = args->file ? args->file->private_data : NULL;

	return data ? data->state->name : preserved(args)->name;
}

static long called(enum luo_cts_op op, struct liveupdate_file_op_args *args, long status)
{
	return luo_cts_called(op, name_of(args), handler_of(args->handler)->name, status);
}

/* Whether a name is one of those in a list with commas between them. */
static bool listed(const char *name, const char *list)
{
	size_t length = strlen(name);

	while (*list) {
		size_t word = strcspn(list, ",");

		if (word == length && !strncmp(list, name, length))
			return true;
		list += word + (list[word] == ',');
	}
	return false;
}

static bool can_preserve(struct liveupdate_file_handler *fh, struct file *file)
{
	struct handler *handler = handler_of(fh);
	struct file_data *data;

	if (file->f_op != &fops)
		return false;
	data = file->private_data;
	if (!listed(handler->name, data->state->kinds))
		return false;
	return !luo_cts_called(LUO_CTS_CAN_PRESERVE, data->state->name, handler->name, 0);
}

static int preserve(struct liveupdate_file_op_args *args)
{
	struct file_data *data = args->file->private_data;
	long err = called(LUO_CTS_PRESERVE, args, 0);
	struct state *page;

	if (err)
		return err;
	page = kho_alloc_preserve(PAGE_SIZE);
	if (IS_ERR(page))
		return PTR_ERR(page);
	guard(mutex)(&data->lock);
	memcpy(page, data->state, PAGE_SIZE);
	args->serialized_data = virt_to_phys(page);
	args->private_data = page;
	return 0;
}

static void unpreserve(struct liveupdate_file_op_args *args)
{
	called(LUO_CTS_UNPRESERVE, args, args->private_data == preserved(args));
	kho_unpreserve_free(args->private_data);
}

static int freeze(struct liveupdate_file_op_args *args)
{
	struct file_data *data = args->file->private_data;
	struct state *page = args->private_data;
	long err = called(LUO_CTS_FREEZE, args, args->private_data == preserved(args));

	if (err)
		return err;
	guard(mutex)(&data->lock);
	data->frozen = true;
	memcpy(page, data->state, PAGE_SIZE);
	args->serialized_data |= FROZEN;
	return 0;
}

static void unfreeze(struct liveupdate_file_op_args *args)
{
	struct file_data *data = args->file->private_data;

	called(LUO_CTS_UNFREEZE, args, data->frozen && (args->serialized_data & FROZEN));
	guard(mutex)(&data->lock);
	data->frozen = false;
}

static int retrieve(struct liveupdate_file_op_args *args)
{
	phys_addr_t phys = args->serialized_data & ~FROZEN;
	/* The status tells whether the handle is the one that freeze() gave. */
	long err = called(LUO_CTS_RETRIEVE, args, args->serialized_data & FROZEN);
	struct file_data *data;
	struct folio *folio;

	if (err)
		return err;
	data = data_alloc();
	if (!data)
		return -ENOMEM;
	args->file = anon_inode_getfile("[luo-cts]", &fops, data, O_RDWR);
	if (IS_ERR(args->file)) {
		data_free(data);
		return PTR_ERR(args->file);
	}
	args->file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	folio = kho_restore_folio(phys);
	if (!folio) {
		fput(args->file);
		return -EIO;
	}
	memcpy(data->state, folio_address(folio), PAGE_SIZE);
	folio_put(folio);
	return 0;
}

static bool can_finish(struct liveupdate_file_op_args *args)
{
	return !called(LUO_CTS_CAN_FINISH, args, luo_cts_status(args));
}

static void finish(struct liveupdate_file_op_args *args)
{
	called(LUO_CTS_FINISH, args, luo_cts_status(args));
	/* A retrieve that was successful has let go of the page. */
	if (luo_cts_status(args) <= 0)
		kho_restore_free(preserved(args));
}

#if LUO_CTS_7_1
static unsigned long get_id(struct file *file)
{
	struct file_data *data = file->private_data;
	long value = luo_cts_called(LUO_CTS_GET_ID, data->state->name, "-", 0);

	return value ?: (unsigned long)data;
}
#endif

static const struct liveupdate_file_ops all_ops = {
	.can_preserve	= can_preserve,
	.preserve	= preserve,
	.unpreserve	= unpreserve,
	.freeze		= freeze,
	.unfreeze	= unfreeze,
	.retrieve	= retrieve,
	.can_finish	= can_finish,
	.finish		= finish,
#if LUO_CTS_7_1
	.get_id		= get_id,
#endif
};

/* Registering */

static struct handler *handler_find(const char *name)
{
	for (int i = 0; i < HANDLERS; i++)
		if (handlers[i].registered && !strcmp(handlers[i].name, name))
			return &handlers[i];
	return NULL;
}

struct liveupdate_file_handler *luo_cts_handler(const char *name)
{
	struct handler *handler;

	guard(mutex)(&handlers_lock);
	handler = handler_find(name);
	return handler ? &handler->fh : NULL;
}

#if LUO_CTS_FLB
/* A handler that was initialized and never registered, for who must refuse it. */
struct liveupdate_file_handler *luo_cts_unregistered_handler(void)
{
	static struct handler handler = {
		.fh.ops = &all_ops,
		.fh.compatible = "luo-cts-unregistered",
		.fh.list = LIST_HEAD_INIT(handler.fh.list),
		.fh.flb_list = LIST_HEAD_INIT(handler.fh.flb_list),
	};

	return &handler.fh;
}
#endif

static int leave_out(struct liveupdate_file_ops *ops, const char *op)
{
	switch (match_string(luo_cts_ops, LUO_CTS_OPS, op)) {
	case LUO_CTS_CAN_PRESERVE:
		ops->can_preserve = NULL;
		return 0;
	case LUO_CTS_PRESERVE:
		ops->preserve = NULL;
		return 0;
	case LUO_CTS_UNPRESERVE:
		ops->unpreserve = NULL;
		return 0;
	case LUO_CTS_FREEZE:
		ops->freeze = NULL;
		return 0;
	case LUO_CTS_UNFREEZE:
		ops->unfreeze = NULL;
		return 0;
	case LUO_CTS_RETRIEVE:
		ops->retrieve = NULL;
		return 0;
	case LUO_CTS_CAN_FINISH:
		ops->can_finish = NULL;
		return 0;
	case LUO_CTS_FINISH:
		ops->finish = NULL;
		return 0;
#if LUO_CTS_7_1
	case LUO_CTS_GET_ID:
		ops->get_id = NULL;
		return 0;
#endif
	}
	return -ENOENT;
}

static int handler_add(const char *name, const char *compatible, char **without, int count)
{
	struct handler *handler = NULL;
	int err;

	guard(mutex)(&handlers_lock);
	for (int i = 0; i < HANDLERS && !handler; i++)
		if (!handlers[i].registered)
			handler = &handlers[i];
	if (!handler)
		return -ENFILE;
	memset(handler, 0, sizeof(*handler));
	handler->ops = all_ops;
	for (int i = 0; i < count; i++) {
		err = leave_out(&handler->ops, without[i]);
		if (err)
			return err;
	}
	luo_cts_module_init(&handler->owner);
	handler->ops.owner = &handler->owner;
	handler->fh.ops = &handler->ops;
	strscpy(handler->name, name, sizeof(handler->name));
	strscpy((char *)handler->fh.compatible, compatible, sizeof(handler->fh.compatible));
	err = liveupdate_register_file_handler(&handler->fh);
	handler->registered = !err;
	return err;
}

static int handler_add_plain(const char *name)
{
	char compatible[LUO_CTS_NAME];

	snprintf(compatible, sizeof(compatible), "luo-cts-%s-v1", name);
	return handler_add(name, compatible, NULL, 0);
}

/* handler-add NAME COMPATIBLE [WITHOUT...] */
static int command_add(char **words, int count, struct seq_buf *answer)
{
	return handler_add(words[0], words[1], words + 2, count - 2);
}

/* handler-del NAME */
static int command_del(char **words, int count, struct seq_buf *answer)
{
	struct handler *handler;
	int err;

	guard(mutex)(&handlers_lock);
	handler = handler_find(words[0]);
	if (!handler)
		return -ENOENT;
	err = luo_cts_unregister(&handler->fh);
	handler->registered = !!err;
	return err;
}

/* handler-owner NAME [live|going]: says how often the owner is held, and changes what it is. */
static int command_owner(char **words, int count, struct seq_buf *answer)
{
	struct handler *handler;

	guard(mutex)(&handlers_lock);
	handler = handler_find(words[0]);
	if (!handler)
		return -ENOENT;
	if (count > 1)
		handler->owner.state = strcmp(words[1], "live") ? MODULE_STATE_GOING : MODULE_STATE_LIVE;
	seq_buf_printf(answer, "%d\n", atomic_read(&handler->owner.refcnt) - 1);
	return 0;
}

const struct luo_cts_command luo_cts_file_commands[] = {
	{ "handler-add", 2, 2 + LUO_CTS_OPS, command_add },
	{ "handler-del", 1, 1, command_del },
	{ "handler-owner", 1, 2, command_owner },
	{}
};

void luo_cts_module_init(struct module *module)
{
	module->state = MODULE_STATE_LIVE;
	strscpy(module->name, "luo_cts", sizeof(module->name));
	/* what the loader begins with: MODULE_REF_BASE */
	atomic_set(&module->refcnt, 1);
}

static char names[256] = "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z";
module_param_string(handlers, names, sizeof(names), 0);
MODULE_PARM_DESC(handlers, "the handlers that are there from the start");

static char early[LUO_CTS_NAME];
module_param_string(early, early, sizeof(early), 0);
MODULE_PARM_DESC(early, "the compatible of a handler that is registered before all others");

/* memfd registers in a late_initcall. */
static int __init early_init(void)
{
	return early[0] ? handler_add("early", early, NULL, 0) : 0;
}
device_initcall(early_init);

int __init luo_cts_files_init(void)
{
	char *rest = names;
	char *name;

	while ((name = strsep(&rest, ","))) {
		int err = *name ? handler_add_plain(name) : 0;

		/* Who switched live update off wants to see what is refused. */
		if (err && err != -EOPNOTSUPP)
			pr_err("luo_cts: handler %s: %pe\n", name, ERR_PTR(err));
	}
	return misc_register(&device);
}
