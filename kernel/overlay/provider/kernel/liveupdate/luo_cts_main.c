// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs: luo-cts/command takes a command in one write and gives the answer to reads of the same open file;
 * luo-cts/missing lists what this release has not.
 */

#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include "luo_cts.h"

#define ANSWER	(256 * 1024)
#define REQUEST	1024

struct talk {
	struct mutex lock;
	struct seq_buf answer;
	char text[];
};

static const struct luo_cts_command *const commands[] = {
	luo_cts_script_commands,
	luo_cts_file_commands,
	luo_cts_flb_commands,
	luo_cts_memory_commands,
	luo_cts_radix_commands,
	luo_cts_block_commands,
};

static const struct luo_cts_command *find(const char *name)
{
	for (int i = 0; i < ARRAY_SIZE(commands); i++)
		for (const struct luo_cts_command *it = commands[i]; it->name; it++)
			if (!strcmp(it->name, name))
				return it;
	return NULL;
}

static int talk_open(struct inode *inode, struct file *file)
{
	struct talk *talk = vzalloc(sizeof(*talk) + ANSWER);

	if (!talk)
		return -ENOMEM;
	mutex_init(&talk->lock);
	seq_buf_init(&talk->answer, talk->text, ANSWER);
	file->private_data = talk;
	return 0;
}

static int talk_release(struct inode *inode, struct file *file)
{
	vfree(file->private_data);
	return 0;
}

static int obey(struct talk *talk, char **words, int count)
{
	const struct luo_cts_command *command = count ? find(words[0]) : NULL;

	if (!command)
		return -ENOTTY;
	if (count - 1 < command->least || count - 1 > command->most)
		return -E2BIG;
	seq_buf_clear(&talk->answer);
	return command->run(words + 1, count - 1, &talk->answer);
}

static ssize_t talk_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct talk *talk = file->private_data;
	char **words;
	char *text;
	int count;
	int err;

	if (size > REQUEST)
		return -E2BIG;
	text = memdup_user_nul(from, size);
	if (IS_ERR(text))
		return PTR_ERR(text);
	words = argv_split(GFP_KERNEL, text, &count);
	kfree(text);
	if (!words)
		return -ENOMEM;
	scoped_guard(mutex, &talk->lock)
		err = obey(talk, words, count);
	argv_free(words);
	return err ?: size;
}

static ssize_t talk_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct talk *talk = file->private_data;

	guard(mutex)(&talk->lock);
	return simple_read_from_buffer(to, size, at, talk->text, seq_buf_used(&talk->answer));
}

static const struct file_operations talk_fops = {
	.owner		= THIS_MODULE,
	.open		= talk_open,
	.release	= talk_release,
	.read		= talk_read,
	.write		= talk_write,
};

static char missing[] = ""
#if !LUO_CTS_FLB
	"flb\n"
#endif
#if !LUO_CTS_STATUS
	"retrieve-status\n"
#endif
#if !LUO_CTS_7_1
	"get-id\nput-incoming\nblob-size\nradix\n"
#endif
#if !LUO_CTS_7_2
	"put-outgoing\nblocks\n"
#endif
#if !LUO_CTS_7_3
	"radix-keys\n"
#endif
	;

static struct debugfs_blob_wrapper missing_blob = {
	.data = missing,
	.size = sizeof(missing) - 1,
};

static int __init luo_cts_init(void)
{
	struct dentry *directory = debugfs_create_dir("luo-cts", NULL);

	debugfs_create_file("command", 0600, directory, NULL, &talk_fops);
	debugfs_create_blob("missing", 0400, directory, &missing_blob);
	return luo_cts_files_init();
}
late_initcall(luo_cts_init);
