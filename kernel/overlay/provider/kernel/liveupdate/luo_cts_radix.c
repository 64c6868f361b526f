// SPDX-License-Identifier: GPL-2.0-only
/*
 * A radix tree of KHO's of our own: keys, and walks that their callbacks stop.
 */

#include <linux/kstrtox.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include "luo_cts.h"

#if LUO_CTS_7_3

#include <linux/kho_radix_tree.h>

static struct kho_radix_tree tree;

struct walk {
	struct seq_buf *answer;
	unsigned long leaves;
	unsigned long nodes;
	unsigned long stop_leaf;	/* the call that gives the value back; 0: none */
	unsigned long stop_node;
	long value;
};

static int leaf(unsigned long key, void *data)
{
	struct walk *walk = data;

	seq_buf_printf(walk->answer, "%#lx\n", key);
	return ++walk->leaves == walk->stop_leaf ? walk->value : 0;
}

static int node(phys_addr_t phys, void *data)
{
	struct walk *walk = data;

	return ++walk->nodes == walk->stop_node ? walk->value : 0;
}

/* radix-init, radix-destroy */
static int init(char **words, int count, struct seq_buf *answer)
{
	return tree.root ? -EEXIST : kho_radix_init_tree(&tree, NULL);
}

static int destroy(char **words, int count, struct seq_buf *answer)
{
	kho_radix_destroy_tree(&tree);
	return 0;
}

/* radix-rootless add|del|walk: a tree that nobody gave a root. */
static int rootless(char **words, int count, struct seq_buf *answer)
{
	struct kho_radix_tree empty = {};
	const struct kho_radix_walk_cb cb = { .leaf = leaf };
	struct walk walk = { .answer = answer };

	mutex_init(&empty.lock);
	if (!strcmp(words[0], "add"))
		return kho_radix_add_key(&empty, 1);
	if (!strcmp(words[0], "walk"))
		return kho_radix_walk_tree(&empty, &cb, &walk);
	if (!strcmp(words[0], "destroy"))
		kho_radix_destroy_tree(&empty);
	else
		kho_radix_del_key(&empty, 1);
	return 0;
}

/* radix-add KEY, radix-del KEY */
static int add(char **words, int count, struct seq_buf *answer)
{
	unsigned long key;

	return kstrtoul(words[0], 0, &key) ?: kho_radix_add_key(&tree, key);
}

/* radix-fill FIRST COUNT STEP */
static int fill(char **words, int count, struct seq_buf *answer)
{
	unsigned long key, number, step;
	int err;

	err = kstrtoul(words[0], 0, &key) ?: kstrtoul(words[1], 0, &number) ?: kstrtoul(words[2], 0, &step);
	for (; !err && number; number--, key += step)
		err = kho_radix_add_key(&tree, key);
	return err;
}

static int del(char **words, int count, struct seq_buf *answer)
{
	unsigned long key;
	int err = kstrtoul(words[0], 0, &key);

	if (!err)
		kho_radix_del_key(&tree, key);
	return err;
}

/* radix-walk [leaf|node N VALUE]: the keys; the N-th call of the callback gives the value back. */
static int walk(char **words, int count, struct seq_buf *answer)
{
	const struct kho_radix_walk_cb cb = { .leaf = leaf, .node = node };
	struct walk walk = { .answer = answer };
	unsigned long number = 0;
	int err = 0;

	if (count == 3)
		err = kstrtoul(words[1], 0, &number) ?: kstrtol(words[2], 0, &walk.value);
	if (err)
		return err;
	if (count == 3 && !strcmp(words[0], "leaf"))
		walk.stop_leaf = number;
	else
		walk.stop_node = number;
	err = kho_radix_walk_tree(&tree, &cb, &walk);
	return err;
}

/* radix-nodes: how many nodes a walk meets; one that looks for nothing goes through as well. */
static int tally(char **words, int count, struct seq_buf *answer)
{
	const struct kho_radix_walk_cb nodes = { .node = node };
	const struct kho_radix_walk_cb nothing = {};
	struct walk walk = { .answer = answer };
	int err = kho_radix_walk_tree(&tree, &nodes, &walk) ?: kho_radix_walk_tree(&tree, &nothing, NULL);

	seq_buf_printf(answer, "%lu\n", walk.nodes);
	return err;
}

const struct luo_cts_command luo_cts_radix_commands[] = {
	{ "radix-init", 0, 0, init },
	{ "radix-destroy", 0, 0, destroy },
	{ "radix-rootless", 1, 1, rootless },
	{ "radix-add", 1, 1, add },
	{ "radix-fill", 3, 3, fill },
	{ "radix-del", 1, 1, del },
	{ "radix-walk", 0, 3, walk },
	{ "radix-nodes", 0, 0, tally },
	{}
};

#elif LUO_CTS_7_1

#include <linux/gfp.h>
#include <linux/kho_radix_tree.h>

static struct kho_radix_tree tree;

static struct seq_buf *walked;

static int page(phys_addr_t phys, unsigned int order)
{
	seq_buf_printf(walked, "%#llx\n", phys);
	return 0;
}

/* radix-init, radix-destroy: nothing but KHO itself frees what is below a root, so that it stays empty. */
static int init(char **words, int count, struct seq_buf *answer)
{
	if (tree.root)
		return -EEXIST;
	mutex_init(&tree.lock);
	tree.root = (void *)get_zeroed_page(GFP_KERNEL);
	return tree.root ? 0 : -ENOMEM;
}

static int destroy(char **words, int count, struct seq_buf *answer)
{
	free_page((unsigned long)tree.root);
	tree.root = NULL;
	return 0;
}

static int walk(char **words, int count, struct seq_buf *answer)
{
	walked = answer;
	return kho_radix_walk_tree(&tree, page);
}

/* radix-rootless add|del|walk: a tree that nobody gave a root. */
static int rootless(char **words, int count, struct seq_buf *answer)
{
	struct kho_radix_tree empty = {};

	mutex_init(&empty.lock);
	if (!strcmp(words[0], "add"))
		return kho_radix_add_page(&empty, 1, 0);
	if (!strcmp(words[0], "walk"))
		return kho_radix_walk_tree(&empty, page);
	kho_radix_del_page(&empty, 1, 0);
	return 0;
}

const struct luo_cts_command luo_cts_radix_commands[] = {
	{ "radix-init", 0, 0, init },
	{ "radix-destroy", 0, 0, destroy },
	{ "radix-walk", 0, 0, walk },
	{ "radix-rootless", 1, 1, rootless },
	{}
};

#else

const struct luo_cts_command luo_cts_radix_commands[] = { {} };

#endif
