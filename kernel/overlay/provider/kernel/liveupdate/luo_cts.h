/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * luo-cts: file handlers, FLBs and users of KHO that do as they are told.
 *
 * What differs between releases is told apart here and nowhere else.
 */
#ifndef _LUO_CTS_H
#define _LUO_CTS_H

#include <linux/kexec_handover.h>
#if __has_include(<linux/kho/abi/kexec_handover.h>)
/* struct kho_vmalloc, which has been in linux/kexec_handover.h before */
#include <linux/kho/abi/kexec_handover.h>
#endif
#include <linux/kho/abi/luo.h>
#include <linux/liveupdate.h>
#include <linux/module.h>
#include <linux/seq_buf.h>
#include <linux/types.h>
#include <linux/version.h>

/* FLBs are there. */
#define LUO_CTS_FLB		(LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0))
/* finish() is told the status of retrieve(), not only whether it was successful. */
#define LUO_CTS_STATUS		(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 9))
/* get_id(); unregistering gives nothing back; put_incoming(); blobs have a size; the radix tree. */
#define LUO_CTS_7_1		(LINUX_VERSION_CODE >= KERNEL_VERSION(7, 1, 0))
/* put_outgoing(); sets of blocks. */
#define LUO_CTS_7_2		(LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0))
/* The radix tree takes any key, and can be made and destroyed. */
#define LUO_CTS_7_3		(LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0))

#define LUO_CTS_NAME		48

enum luo_cts_op {
	LUO_CTS_CAN_PRESERVE,
	LUO_CTS_PRESERVE,
	LUO_CTS_UNPRESERVE,
	LUO_CTS_FREEZE,
	LUO_CTS_UNFREEZE,
	LUO_CTS_RETRIEVE,
	LUO_CTS_CAN_FINISH,
	LUO_CTS_FINISH,
	LUO_CTS_GET_ID,
	LUO_CTS_FLB_PRESERVE,
	LUO_CTS_FLB_UNPRESERVE,
	LUO_CTS_FLB_RETRIEVE,
	LUO_CTS_FLB_FINISH,
	LUO_CTS_OPS,
};

extern const char *const luo_cts_ops[LUO_CTS_OPS];

/*
 * A command of debugfs: its name, how many words may follow it, and what it does. The answer goes into the
 * buffer; an errno is given back by the write itself.
 */
struct luo_cts_command {
	const char *name;
	int least;
	int most;
	int (*run)(char **words, int count, struct seq_buf *answer);
};

extern const struct luo_cts_command luo_cts_script_commands[];
extern const struct luo_cts_command luo_cts_file_commands[];
extern const struct luo_cts_command luo_cts_flb_commands[];
extern const struct luo_cts_command luo_cts_memory_commands[];
extern const struct luo_cts_command luo_cts_radix_commands[];
extern const struct luo_cts_command luo_cts_block_commands[];

/*
 * A callback was called for something: writes it down, and does what was asked for it. Gives back 0 or the
 * value of the rule: a negative errno, or an identifier for get_id().
 */
long luo_cts_called(enum luo_cts_op op, const char *name, const char *owner, long status);

/*
 * A module that never was loaded: LUO counts its references, and it can be told to go away.
 */
void luo_cts_module_init(struct module *module);

/* The handler of a name, or NULL; one that never was registered. */
struct liveupdate_file_handler *luo_cts_handler(const char *name);
struct liveupdate_file_handler *luo_cts_unregistered_handler(void);

int __init luo_cts_files_init(void);

static inline int luo_cts_add_subtree(const char *name, void *blob, size_t size)
{
#if LUO_CTS_7_1
	return kho_add_subtree(name, blob, size);
#else
	return kho_add_subtree(name, blob);
#endif
}

static inline int luo_cts_retrieve_subtree(const char *name, phys_addr_t *phys, size_t *size)
{
#if LUO_CTS_7_1
	return kho_retrieve_subtree(name, phys, size);
#else
	return kho_retrieve_subtree(name, phys);
#endif
}

static inline int luo_cts_unregister(struct liveupdate_file_handler *fh)
{
#if LUO_CTS_7_1
	liveupdate_unregister_file_handler(fh);
	return 0;
#else
	return liveupdate_unregister_file_handler(fh);
#endif
}

static inline long luo_cts_status(struct liveupdate_file_op_args *args)
{
#if LUO_CTS_STATUS
	return args->retrieve_status;
#else
	return args->retrieved;
#endif
}

#endif /* _LUO_CTS_H */
