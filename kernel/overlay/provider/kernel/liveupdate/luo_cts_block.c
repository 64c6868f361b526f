// SPDX-License-Identifier: GPL-2.0-only
/*
 * A set of blocks of our own, whose entries are numbers; in the next kernel the one that was left there.
 */

#include <linux/cleanup.h>
#include <linux/io.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include "luo_cts.h"

#if LUO_CTS_7_2

#include <linux/kho_block.h>

#define SUBTREE	"luo-cts-blocks"

/* What the next kernel has to know. */
struct left {
	u64 head;
	u64 entry_size;
};

static struct kho_block_set set;
static struct left *left;
static bool made;
static DEFINE_MUTEX(lock);

/* block-init BYTES: entries of that size, of which eight at least are ours. */
static int init(char **words, int count, struct seq_buf *answer)
{
	unsigned long size;
	int err = kstrtoul(words[0], 0, &size);

	if (err)
		return err;
	guard(mutex)(&lock);
	if (made)
		return -EEXIST;
	kho_block_set_init(&set, size);
	made = true;
	seq_buf_printf(answer, "%llu\n", set.count_per_block);
	return 0;
}

/* block-grow N, block-shrink N: the answer says how many blocks there are. */
static int grow(char **words, int count, struct seq_buf *answer)
{
	unsigned long number;
	int err = kstrtoul(words[0], 0, &number);

	if (err)
		return err;
	guard(mutex)(&lock);
	err = kho_block_set_grow(&set, number);
	seq_buf_printf(answer, "%ld\n", set.nblocks);
	return err;
}

static int shrink(char **words, int count, struct seq_buf *answer)
{
	unsigned long number;
	int err = kstrtoul(words[0], 0, &number);

	if (err)
		return err;
	guard(mutex)(&lock);
	kho_block_set_shrink(&set, number);
	seq_buf_printf(answer, "%ld\n", set.nblocks);
	return 0;
}

/* block-fill N: numbers from 0 on; the answer says how many there was room for. */
static int fill(char **words, int count, struct seq_buf *answer)
{
	struct kho_block_set_it it;
	unsigned long number;
	unsigned long i;
	u64 *entry;
	int err = kstrtoul(words[0], 0, &number);

	if (err)
		return err;
	guard(mutex)(&lock);
	kho_block_set_it_init(&it, &set);
	for (i = 0; i < number; i++) {
		entry = kho_block_set_it_reserve_entry(&it);
		if (!entry)
			break;
		*entry = i;
	}
	seq_buf_printf(answer, "%lu\n", i);
	return 0;
}

/* block-read: how many there are, and whether they are in order. */
static int read(char **words, int count, struct seq_buf *answer)
{
	struct kho_block_set_it it;
	unsigned long i = 0;
	bool right = true;
	u64 *entry;

	guard(mutex)(&lock);
	kho_block_set_it_init(&it, &set);
	while ((entry = kho_block_set_it_read_entry(&it)))
		right &= *entry == i++;
	seq_buf_printf(answer, "%lu %s\n", i, right ? "right" : "wrong");
	return 0;
}

/* block-back N: from behind the N-th to the first, how many there were and whether they were in order. */
static int back(char **words, int count, struct seq_buf *answer)
{
	struct kho_block_set_it it;
	unsigned long number;
	unsigned long i;
	bool right = true;
	u64 *entry;
	int err = kstrtoul(words[0], 0, &number);

	if (err)
		return err;
	guard(mutex)(&lock);
	kho_block_set_it_init(&it, &set);
	for (i = 0; i < number && kho_block_set_it_read_entry(&it); i++)
		;
	number = 0;
	while ((entry = kho_block_set_it_prev(&it))) {
		right &= *entry == --i;
		number++;
	}
	seq_buf_printf(answer, "%lu %s\n", number, right ? "right" : "wrong");
	return 0;
}

/* block-clear: the answer says what is not zero then. */
static int clear(char **words, int count, struct seq_buf *answer)
{
	struct kho_block *block;
	bool zero = true;

	guard(mutex)(&lock);
	kho_block_set_clear(&set);
	list_for_each_entry(block, &set.blocks, list)
		zero &= !block->ser->count &&
			!memchr_inv(block->ser + 1, 0, KHO_BLOCK_SIZE - sizeof(*block->ser));
	seq_buf_printf(answer, "%s\n", zero ? "zeroed" : "dirty");
	return 0;
}

static int destroy(char **words, int count, struct seq_buf *answer)
{
	guard(mutex)(&lock);
	kho_block_set_destroy(&set);
	seq_buf_printf(answer, "%ld %llu %d\n", set.nblocks, kho_block_set_head_pa(&set),
		       kho_block_set_is_empty(&set));
	made = false;
	if (left) {
		kho_remove_subtree(left);
		kho_unpreserve_free(left);
		left = NULL;
	}
	return 0;
}

/* block-leave: for the next kernel. */
static int leave(char **words, int count, struct seq_buf *answer)
{
	int err;

	guard(mutex)(&lock);
	if (left)
		return -EEXIST;
	left = kho_alloc_preserve(sizeof(*left));
	if (IS_ERR(left)) {
		err = PTR_ERR(left);
		left = NULL;
		return err;
	}
	left->head = kho_block_set_head_pa(&set);
	left->entry_size = set.entry_size;
	err = kho_add_subtree(SUBTREE, left, sizeof(*left));
	if (err) {
		kho_unpreserve_free(left);
		left = NULL;
	}
	return err;
}

/* block-restore: what the kernel before has left; the answer says how many blocks that is. */
static int restore(char **words, int count, struct seq_buf *answer)
{
	struct left *before;
	phys_addr_t phys;
	int err = kho_retrieve_subtree(SUBTREE, &phys, NULL);

	if (err)
		return err;
	guard(mutex)(&lock);
	if (made)
		return -EEXIST;
	before = phys_to_virt(phys);
	kho_block_set_init(&set, before->entry_size);
	err = kho_block_set_restore(&set, before->head);
	made = !err;
	if (!err)
		kho_restore_free(before);
	seq_buf_printf(answer, "%ld\n", set.nblocks);
	return err;
}

const struct luo_cts_command luo_cts_block_commands[] = {
	{ "block-init", 1, 1, init },
	{ "block-grow", 1, 1, grow },
	{ "block-shrink", 1, 1, shrink },
	{ "block-fill", 1, 1, fill },
	{ "block-read", 0, 0, read },
	{ "block-back", 1, 1, back },
	{ "block-clear", 0, 0, clear },
	{ "block-destroy", 0, 0, destroy },
	{ "block-leave", 0, 0, leave },
	{ "block-restore", 0, 0, restore },
	{}
};

#else

const struct luo_cts_command luo_cts_block_commands[] = { {} };

#endif
