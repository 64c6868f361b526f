// SPDX-License-Identifier: GPL-2.0-only
/*
 * What callbacks are told to do, and the book of their calls.
 *
 * A rule says: the n-th call from now on of this callback for this thing (0: every one) fails with a value,
 * or sleeps until it is woken. The first rule that fits counts.
 */

#include <linux/kstrtox.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include "luo_cts.h"

#define RULES	128
#define CALLS	8192

const char *const luo_cts_ops[LUO_CTS_OPS] = {
	[LUO_CTS_CAN_PRESERVE]		= "can_preserve",
	[LUO_CTS_PRESERVE]		= "preserve",
	[LUO_CTS_UNPRESERVE]		= "unpreserve",
	[LUO_CTS_FREEZE]		= "freeze",
	[LUO_CTS_UNFREEZE]		= "unfreeze",
	[LUO_CTS_RETRIEVE]		= "retrieve",
	[LUO_CTS_CAN_FINISH]		= "can_finish",
	[LUO_CTS_FINISH]		= "finish",
	[LUO_CTS_GET_ID]		= "get_id",
	[LUO_CTS_FLB_PRESERVE]		= "flb_preserve",
	[LUO_CTS_FLB_UNPRESERVE]	= "flb_unpreserve",
	[LUO_CTS_FLB_RETRIEVE]		= "flb_retrieve",
	[LUO_CTS_FLB_FINISH]		= "flb_finish",
};

struct rule {
	bool used;
	bool sleeps;
	bool woken;
	enum luo_cts_op op;
	char name[LUO_CTS_NAME];
	unsigned int nth;
	unsigned int calls;
	unsigned int sleepers;
	long value;
};

struct call {
	enum luo_cts_op op;
	char name[LUO_CTS_NAME];
	char owner[LUO_CTS_NAME];
	long status;
	long value;
};

static struct rule rules[RULES];
static struct call calls[CALLS];
static unsigned long ncalls;
static DEFINE_SPINLOCK(lock);
static DECLARE_WAIT_QUEUE_HEAD(changed);

static bool woken(struct rule *rule)
{
	guard(spinlock)(&lock);
	return rule->woken;
}

long luo_cts_called(enum luo_cts_op op, const char *name, const char *owner, long status)
{
	struct rule *rule = NULL;
	unsigned long number;
	struct call *call;
	long value = 0;

	scoped_guard(spinlock, &lock) {
		number = ncalls++;
		call = &calls[number % CALLS];
		call->op = op;
		strscpy(call->name, name, sizeof(call->name));
		strscpy(call->owner, owner, sizeof(call->owner));
		call->status = status;
		call->value = 0;
		for (int i = 0; i < RULES; i++) {
			struct rule *it = &rules[i];

			if (!it->used || it->op != op || strcmp(it->name, name))
				continue;
			it->calls++;
			if (it->nth && it->calls != it->nth)
				continue;
			rule = it;
			value = it->value;
			if (it->sleeps)
				it->sleepers++;
			break;
		}
		call->value = value;
	}
	if (!rule || !rule->sleeps)
		return value;

	wake_up_all(&changed);
	if (wait_event_killable(changed, woken(rule)) && !value)
		value = -EINTR;
	scoped_guard(spinlock, &lock)
		rule->sleepers--;
	wake_up_all(&changed);
	return value;
}

static int op_of(const char *word)
{
	return match_string(luo_cts_ops, LUO_CTS_OPS, word);
}

/* rule OP NAME NTH fail|value|sleep [VALUE] */
static int add_rule(char **words, int count, struct seq_buf *answer)
{
	struct rule rule = { .used = true };
	int op = op_of(words[0]);
	int err;

	if (op < 0)
		return op;
	rule.op = op;
	if (strscpy(rule.name, words[1], sizeof(rule.name)) < 0)
		return -ENAMETOOLONG;
	err = kstrtouint(words[2], 0, &rule.nth);
	if (err)
		return err;
	rule.sleeps = !strcmp(words[3], "sleep");
	if (count > 4) {
		err = kstrtol(words[4], 0, &rule.value);
		if (err)
			return err;
	}
	guard(spinlock)(&lock);
	for (int i = 0; i < RULES; i++) {
		if (!rules[i].used && !rules[i].sleepers) {
			rules[i] = rule;
			return 0;
		}
	}
	return -ENOSPC;
}

/* forget NAME: its rules hold no more, and who sleeps by them goes on. */
static int forget(char **words, int count, struct seq_buf *answer)
{
	scoped_guard(spinlock, &lock) {
		for (int i = 0; i < RULES; i++) {
			if (!strcmp(rules[i].name, words[0])) {
				rules[i].used = false;
				rules[i].woken = true;
			}
		}
	}
	wake_up_all(&changed);
	return 0;
}

static bool asleep(enum luo_cts_op op, const char *name, unsigned int wanted)
{
	unsigned int sleepers = 0;

	guard(spinlock)(&lock);
	for (int i = 0; i < RULES; i++)
		if (rules[i].op == op && !strcmp(rules[i].name, name))
			sleepers += rules[i].sleepers;
	return sleepers >= wanted;
}

/* asleep OP NAME: waits until a call of this callback for this thing sleeps. */
static int await(char **words, int count, struct seq_buf *answer)
{
	int op = op_of(words[0]);

	if (op < 0)
		return op;
	return wait_event_killable(changed, asleep(op, words[1], 1)) ? -EINTR : 0;
}

/* calls FROM: a line for each call since the FROM-th. */
static int tell(char **words, int count, struct seq_buf *answer)
{
	unsigned long from;
	int err = kstrtoul(words[0], 0, &from);

	if (err)
		return err;
	guard(spinlock)(&lock);
	if (ncalls > from + CALLS)
		return -EOVERFLOW;
	for (unsigned long i = from; i < ncalls; i++) {
		struct call *call = &calls[i % CALLS];

		seq_buf_printf(answer, "%s %s %s %ld %ld\n", luo_cts_ops[call->op], call->name,
			       call->owner, call->status, call->value);
		if (seq_buf_has_overflowed(answer))
			return -EOVERFLOW;
	}
	return 0;
}

/* position: how many calls there were. */
static int position(char **words, int count, struct seq_buf *answer)
{
	guard(spinlock)(&lock);
	seq_buf_printf(answer, "%lu\n", ncalls);
	return 0;
}

const struct luo_cts_command luo_cts_script_commands[] = {
	{ "rule", 4, 5, add_rule },
	{ "forget", 1, 1, forget },
	{ "asleep", 2, 2, await },
	{ "calls", 1, 1, tell },
	{ "position", 0, 0, position },
	{}
};
