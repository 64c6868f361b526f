// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory handed over by KHO, each piece under a name, of every kind that KHO knows. What there is, is listed
 * in a page of its own that goes over as the subtree "luo-cts"; in the next kernel it is found there.
 */

#include <linux/cleanup.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#include "luo_cts.h"

#define SUBTREE	"luo-cts"

enum kind { NONE, FOLIO, PAGES, SPAN, VMALLOC, ALLOC };

struct piece {
	char name[LUO_CTS_NAME];
	u32 kind;
	u32 order;		/* of a folio */
	u64 phys;		/* folio, pages, alloc */
	u64 count;		/* pages */
	struct kho_vmalloc area;
};

struct list {
	u64 count;
	struct piece piece[];
};

#define PIECES	((PAGE_SIZE - sizeof(struct list)) / sizeof(struct piece))

/* What is only true in the kernel that made the piece. */
struct origin {
	void *area;		/* vmalloc */
	struct page *block;	/* what the pages were taken from, and of what order it is */
	unsigned int order;
};

static struct list *outgoing;
static struct list *incoming;
static struct origin origins[PIECES];
static DEFINE_MUTEX(lock);

/* The n-th word of a piece's page. */
static u64 word(const char *name, u64 page, unsigned int n)
{
	u64 hash = 0xcbf29ce484222325ULL;

	while (*name)
		hash = (hash ^ *name++) * 0x100000001b3ULL;
	return hash ^ (page << 16) ^ n;
}

static void fill(const char *name, u64 number, void *page)
{
	for (unsigned int i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		((u64 *)page)[i] = word(name, number, i);
}

static bool intact(const char *name, u64 number, const void *page)
{
	for (unsigned int i = 0; i < PAGE_SIZE / sizeof(u64); i++)
		if (((const u64 *)page)[i] != word(name, number, i))
			return false;
	return true;
}

static int out_list(void)
{
	int err;

	if (outgoing)
		return 0;
	outgoing = kho_alloc_preserve(PAGE_SIZE);
	if (IS_ERR(outgoing)) {
		err = PTR_ERR(outgoing);
		outgoing = NULL;
		return err;
	}
	err = luo_cts_add_subtree(SUBTREE, outgoing, PAGE_SIZE);
	if (err) {
		kho_unpreserve_free(outgoing);
		outgoing = NULL;
	}
	return err;
}

static int in_list(void)
{
	phys_addr_t phys;
	size_t size;
	int err;

	if (incoming)
		return 0;
	err = luo_cts_retrieve_subtree(SUBTREE, &phys, &size);
	if (!err)
		incoming = phys_to_virt(phys);
	return err;
}

static struct piece *find(struct list *list, const char *name)
{
	for (unsigned int i = 0; list && i < PIECES; i++)
		if (list->piece[i].kind != NONE && !strcmp(list->piece[i].name, name))
			return &list->piece[i];
	return NULL;
}

static struct piece *free_slot(const char *name)
{
	if (out_list() || find(outgoing, name))
		return NULL;
	for (unsigned int i = 0; i < PIECES; i++)
		if (outgoing->piece[i].kind == NONE)
			return &outgoing->piece[i];
	return NULL;
}

static struct origin *origin_of(struct piece *piece)
{
	return &origins[piece - outgoing->piece];
}

static void note(struct piece *piece, const char *name, enum kind kind)
{
	strscpy(piece->name, name, sizeof(piece->name));
	piece->kind = kind;
	outgoing->count++;
}

static void forget(struct piece *piece)
{
	memset(piece, 0, sizeof(*piece));
	outgoing->count--;
}

/* folio NAME ORDER */
static int preserve_folio(char **words, int count, struct seq_buf *answer)
{
	struct piece *piece;
	struct folio *folio;
	unsigned int order;
	int err = kstrtouint(words[1], 0, &order);

	if (err)
		return err;
	guard(mutex)(&lock);
	piece = free_slot(words[0]);
	if (!piece)
		return -ENFILE;
	folio = folio_alloc(GFP_KERNEL, order);
	if (!folio)
		return -ENOMEM;
	for (unsigned long i = 0; i < folio_nr_pages(folio); i++)
		fill(words[0], i, folio_address(folio) + i * PAGE_SIZE);
	err = kho_preserve_folio(folio);
	if (err) {
		folio_put(folio);
		return err;
	}
	piece->order = order;
	piece->phys = PFN_PHYS(folio_pfn(folio));
	piece->count = folio_nr_pages(folio);
	note(piece, words[0], FOLIO);
	return 0;
}

static void free_block(struct page *block, unsigned int order)
{
	for (unsigned long i = 0; i < 1UL << order; i++)
		__free_page(block + i);
}

/* pages NAME FIRST COUNT ORDER: of a block of that order, so many pages from the FIRST on. */
static int preserve_pages(char **words, int count, struct seq_buf *answer)
{
	unsigned long first, number;
	struct piece *piece;
	unsigned int order;
	struct page *block;
	int err;

	err = kstrtoul(words[1], 0, &first) ?: kstrtoul(words[2], 0, &number) ?:
	      kstrtouint(words[3], 0, &order);
	if (err)
		return err;
	guard(mutex)(&lock);
	piece = free_slot(words[0]);
	if (!piece)
		return -ENFILE;
	block = alloc_pages(GFP_KERNEL, order);
	if (!block)
		return -ENOMEM;
	split_page(block, order);
	for (unsigned long i = 0; i < number; i++)
		fill(words[0], i, page_address(block + first + i));
	err = kho_preserve_pages(block + first, number);
	if (err) {
		free_block(block, order);
		return err;
	}
	piece->phys = page_to_phys(block + first);
	piece->count = number;
	note(piece, words[0], PAGES);
	origin_of(piece)->block = block;
	origin_of(piece)->order = order;
	return 0;
}

/*
 * vmalloc NAME PAGES plain|huge [unset]: the answer is the order of the area's pages. What describes it holds
 * anything before, if unset.
 */
static int preserve_vmalloc(char **words, int count, struct seq_buf *answer)
{
	struct piece *piece;
	unsigned long pages;
	void *area;
	int err = kstrtoul(words[1], 0, &pages);

	if (err)
		return err;
	guard(mutex)(&lock);
	piece = free_slot(words[0]);
	if (!piece)
		return -ENFILE;
	area = strcmp(words[2], "huge") ? vmalloc(pages * PAGE_SIZE) :
					  vmalloc_huge(pages * PAGE_SIZE, GFP_KERNEL);
	if (!area)
		return -ENOMEM;
	for (unsigned long i = 0; i < pages; i++)
		fill(words[0], i, area + i * PAGE_SIZE);
	memset(&piece->area, count > 3 ? 0xff : 0, sizeof(piece->area));
	err = kho_preserve_vmalloc(area, &piece->area);
	if (err) {
		vfree(area);
		memset(piece, 0, sizeof(*piece));
		return err;
	}
	piece->count = pages;
	note(piece, words[0], VMALLOC);
	origin_of(piece)->area = area;
	seq_buf_printf(answer, "%u\n", piece->area.order);
	return 0;
}

/* alloc NAME BYTES: the answer says how many of the bytes were not zero. */
static int preserve_alloc(char **words, int count, struct seq_buf *answer)
{
	struct piece *piece;
	unsigned long size;
	void *memory;
	int err = kstrtoul(words[1], 0, &size);

	if (err)
		return err;
	guard(mutex)(&lock);
	piece = free_slot(words[0]);
	if (!piece)
		return -ENFILE;
	memory = kho_alloc_preserve(size);
	if (IS_ERR(memory))
		return PTR_ERR(memory);
	seq_buf_printf(answer, "%s\n", memchr_inv(memory, 0, size) ? "dirty" : "zeroed");
	piece->count = PAGE_ALIGN(size) / PAGE_SIZE;
	for (unsigned long i = 0; i < piece->count; i++)
		fill(words[0], i, memory + i * PAGE_SIZE);
	piece->phys = virt_to_phys(memory);
	note(piece, words[0], ALLOC);
	return 0;
}

/*
 * span NAME PAGES: so many pages on each side of where one node's memory ends and another's begins, whoever
 * uses them: nobody writes to them.
 */
static int preserve_span(char **words, int count, struct seq_buf *answer)
{
	unsigned long number, end;
	struct piece *piece;
	int err = kstrtoul(words[1], 0, &number);

	if (err)
		return err;
	guard(mutex)(&lock);
	piece = free_slot(words[0]);
	if (!piece)
		return -ENFILE;
	end = node_end_pfn(0);
	if (!pfn_valid(end) || pfn_to_nid(end) == pfn_to_nid(end - 1))
		return -ENODEV;
	err = kho_preserve_pages(pfn_to_page(end - number), 2 * number);
	if (err)
		return err;
	piece->phys = PFN_PHYS(end - number);
	piece->count = 2 * number;
	note(piece, words[0], SPAN);
	return 0;
}

/* unpreserve NAME */
static int unpreserve(char **words, int count, struct seq_buf *answer)
{
	struct origin *origin;
	struct piece *piece;

	guard(mutex)(&lock);
	piece = find(outgoing, words[0]);
	if (!piece)
		return -ENXIO;
	origin = origin_of(piece);
	switch (piece->kind) {
	case FOLIO:
		kho_unpreserve_folio(pfn_folio(PHYS_PFN(piece->phys)));
		folio_put(pfn_folio(PHYS_PFN(piece->phys)));
		break;
	case PAGES:
		kho_unpreserve_pages(phys_to_page(piece->phys), piece->count);
		free_block(origin->block, origin->order);
		break;
	case SPAN:
		kho_unpreserve_pages(phys_to_page(piece->phys), piece->count);
		break;
	case VMALLOC:
		kho_unpreserve_vmalloc(&piece->area);
		vfree(origin->area);
		break;
	case ALLOC:
		kho_unpreserve_free(phys_to_virt(piece->phys));
		break;
	}
	forget(piece);
	return 0;
}

static void judge(struct seq_buf *answer, struct piece *piece, const void *memory, u64 pages)
{
	for (u64 i = 0; i < pages; i++) {
		if (!intact(piece->name, i, memory + i * PAGE_SIZE)) {
			seq_buf_printf(answer, "page %llu differs\n", i);
			return;
		}
	}
	seq_buf_printf(answer, "intact\n");
}

static int restore_folio(struct piece *piece, struct seq_buf *answer)
{
	struct folio *folio = kho_restore_folio(piece->phys);

	if (!folio)
		return -EIO;
	judge(answer, piece, folio_address(folio), piece->count);
	seq_buf_printf(answer, "order %u, held %d times\n", folio_order(folio), folio_ref_count(folio));
	folio_put(folio);
	return 0;
}

static int restore_pages(struct piece *piece, struct seq_buf *answer)
{
	unsigned long before = totalram_pages();
	struct page *page = kho_restore_pages(piece->phys, piece->count);
	unsigned long given = totalram_pages() - before;
	u64 wrong = 0;

	if (!page)
		return -EIO;
	if (piece->kind == PAGES)
		judge(answer, piece, page_address(page), piece->count);
	/* What KHO has restored it has let go of: nothing of its own is left in the page. */
	for (u64 i = 0; i < piece->count; i++)
		wrong += PageCompound(page + i) || page_ref_count(page + i) != 1 || page_private(page + i);
	seq_buf_printf(answer, "%llu pages that are not single, %lu given\n", wrong, given);
	for (u64 i = 0; i < piece->count && !wrong && given == piece->count; i++)
		__free_page(page + i);
	return 0;
}

static int restore_vmalloc(struct piece *piece, struct seq_buf *answer)
{
	void *area = kho_restore_vmalloc(&piece->area);

	if (!area)
		return -EIO;
	judge(answer, piece, area, piece->count);
	seq_buf_printf(answer, "%s\n", is_vmalloc_addr(area) ? "an area" : "no area");
	vfree(area);
	return 0;
}

/* restore NAME: gives it back to the kernel when it was looked at. Again and again, if asked. */
static int restore(char **words, int count, struct seq_buf *answer)
{
	struct piece *piece;
	int err;

	guard(mutex)(&lock);
	err = in_list();
	if (err)
		return err;
	piece = find(incoming, words[0]);
	if (!piece)
		return -ENXIO;
	switch (piece->kind) {
	case FOLIO:
		return restore_folio(piece, answer);
	case PAGES:
	case SPAN:
		return restore_pages(piece, answer);
	case VMALLOC:
		return restore_vmalloc(piece, answer);
	}
	judge(answer, piece, phys_to_virt(piece->phys), piece->count);
	kho_restore_free(phys_to_virt(piece->phys));
	return 0;
}

/* done: gives back the list that the kernel before has left. */
static int done(char **words, int count, struct seq_buf *answer)
{
	int err;

	guard(mutex)(&lock);
	err = in_list();
	if (err)
		return err;
	kho_restore_free(incoming);
	return 0;
}

/* clean: no subtree and no list any more; there may be no piece. */
static int clean(char **words, int count, struct seq_buf *answer)
{
	guard(mutex)(&lock);
	if (!outgoing)
		return 0;
	if (outgoing->count)
		return -EBUSY;
	kho_remove_subtree(outgoing);
	kho_unpreserve_free(outgoing);
	outgoing = NULL;
	return 0;
}

/* restore-nothing PHYS COUNT: what was never preserved. */
static int restore_nothing(char **words, int count, struct seq_buf *answer)
{
	unsigned long phys, pages;
	int err = kstrtoul(words[0], 0, &phys) ?: kstrtoul(words[1], 0, &pages);

	if (err)
		return err;
	if (!pages)
		return kho_restore_folio(phys) ? 0 : -EIO;
	return kho_restore_pages(phys, pages) ? 0 : -EIO;
}

/*
 * preserve-at folio|pages PHYS COUNT, unpreserve-at folio|pages PHYS COUNT: memory of whomever, for which that
 * is wrong.
 */
static int at(char **words, struct page **page, unsigned long *number)
{
	unsigned long phys;
	int err = kstrtoul(words[1], 0, &phys) ?: kstrtoul(words[2], 0, number);

	if (!err && !pfn_valid(PHYS_PFN(phys)))
		return -ENXIO;
	*page = pfn_to_page(PHYS_PFN(phys));
	return err;
}

static int preserve_at(char **words, int count, struct seq_buf *answer)
{
	unsigned long number;
	struct page *page;
	int err = at(words, &page, &number);

	if (err)
		return err;
	if (!strcmp(words[0], "folio"))
		return kho_preserve_folio(page_folio(page));
	return kho_preserve_pages(page, number);
}

static int unpreserve_at(char **words, int count, struct seq_buf *answer)
{
	unsigned long number;
	struct page *page;
	int err = at(words, &page, &number);

	if (err)
		return err;
	if (!strcmp(words[0], "folio"))
		kho_unpreserve_folio(page_folio(page));
	else
		kho_unpreserve_pages(page, number);
	return 0;
}

/* no-vmalloc linear|vmap|user: what kho_preserve_vmalloc() has to refuse. */
static int no_vmalloc(char **words, int count, struct seq_buf *answer)
{
	struct kho_vmalloc area = {};
	struct page *page;
	void *memory;
	int err;

	if (!strcmp(words[0], "user")) {
		memory = vmalloc_user(PAGE_SIZE);
		if (!memory)
			return -ENOMEM;
		err = kho_preserve_vmalloc(memory, &area);
		if (!err)
			kho_unpreserve_vmalloc(&area);
		vfree(memory);
		return err;
	}
	page = alloc_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	memory = strcmp(words[0], "vmap") ? page_address(page) : vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	err = memory ? kho_preserve_vmalloc(memory, &area) : -ENOMEM;
	if (!err)
		kho_unpreserve_vmalloc(&area);
	if (memory != page_address(page))
		vunmap(memory);
	__free_page(page);
	return err;
}

/* nothing: what is documented to do nothing for NULL, or does so by being written so. */
static int nothing(char **words, int count, struct seq_buf *answer)
{
	kho_unpreserve_free(NULL);
	kho_restore_free(NULL);
	return 0;
}

/* alloc-only BYTES, subtree-only NAME: nothing else of KHO is used on the way. */
static int alloc_only(char **words, int count, struct seq_buf *answer)
{
	unsigned long size;
	void *memory;
	int err = kstrtoul(words[0], 0, &size);

	if (err)
		return err;
	memory = kho_alloc_preserve(size);
	if (IS_ERR(memory))
		return PTR_ERR(memory);
	kho_unpreserve_free(memory);
	return 0;
}

static int subtree_only(char **words, int count, struct seq_buf *answer)
{
	void *blob = (void *)get_zeroed_page(GFP_KERNEL);
	int err = blob ? luo_cts_add_subtree(words[0], blob, PAGE_SIZE) : -ENOMEM;

	if (!err)
		kho_remove_subtree(blob);
	free_page((unsigned long)blob);
	return err;
}

/* subtree-add NAME, subtree-del NAME: a page of its own below each; the name may be anything. */
static struct {
	char name[2 * LUO_CTS_NAME];
	void *blob;
} blobs[64];

static int subtree_add(char **words, int count, struct seq_buf *answer)
{
	void *blob;
	int err;

	guard(mutex)(&lock);
	for (int i = 0; i < ARRAY_SIZE(blobs); i++) {
		if (blobs[i].blob)
			continue;
		blob = kho_alloc_preserve(PAGE_SIZE);
		if (IS_ERR(blob))
			return PTR_ERR(blob);
		strscpy(blob, words[0], PAGE_SIZE);
		err = luo_cts_add_subtree(words[0], blob, strlen(words[0]) + 1);
		if (err) {
			kho_unpreserve_free(blob);
			return err;
		}
		blobs[i].blob = blob;
		strscpy(blobs[i].name, words[0], sizeof(blobs[i].name));
		return 0;
	}
	return -ENFILE;
}

static int subtree_del(char **words, int count, struct seq_buf *answer)
{
	guard(mutex)(&lock);
	for (int i = 0; i < ARRAY_SIZE(blobs); i++) {
		if (!blobs[i].blob || strcmp(blobs[i].name, words[0]))
			continue;
		kho_remove_subtree(blobs[i].blob);
		kho_unpreserve_free(blobs[i].blob);
		blobs[i].blob = NULL;
		return 0;
	}
	return -ENXIO;
}

/* subtree-del-unknown: a blob that no subtree has. */
static int subtree_del_unknown(char **words, int count, struct seq_buf *answer)
{
	kho_remove_subtree(words);
	return 0;
}

/* subtree-get NAME [nowhere|unsized]: what the kernel before has put there, and its size. */
static int subtree_get(char **words, int count, struct seq_buf *answer)
{
	bool nowhere = count > 1 && !strcmp(words[1], "nowhere");
	bool unsized = count > 1 && !strcmp(words[1], "unsized");
	phys_addr_t phys = 0;
	size_t size = 0;
	int err;

	err = luo_cts_retrieve_subtree(words[0], nowhere ? NULL : &phys, unsized ? NULL : &size);
	if (!err)
		seq_buf_printf(answer, "%s %zu\n", (char *)phys_to_virt(phys), size);
	return err;
}

/* subtree-blob NAME: gives back what the kernel before has put there. */
static int subtree_free(char **words, int count, struct seq_buf *answer)
{
	phys_addr_t phys;
	size_t size;
	int err = luo_cts_retrieve_subtree(words[0], &phys, &size);

	if (!err)
		kho_restore_free(phys_to_virt(phys));
	return err;
}

/* kho: what KHO says of itself. */
static int kho_state(char **words, int count, struct seq_buf *answer)
{
	seq_buf_printf(answer, "%d %d\n", kho_is_enabled(), is_kho_boot());
	return 0;
}

const struct luo_cts_command luo_cts_memory_commands[] = {
	{ "folio", 2, 2, preserve_folio },
	{ "pages", 4, 4, preserve_pages },
	{ "span", 2, 2, preserve_span },
	{ "vmalloc", 3, 4, preserve_vmalloc },
	{ "alloc", 2, 2, preserve_alloc },
	{ "unpreserve", 1, 1, unpreserve },
	{ "restore", 1, 1, restore },
	{ "done", 0, 0, done },
	{ "clean", 0, 0, clean },
	{ "restore-nothing", 2, 2, restore_nothing },
	{ "preserve-at", 3, 3, preserve_at },
	{ "unpreserve-at", 3, 3, unpreserve_at },
	{ "no-vmalloc", 1, 1, no_vmalloc },
	{ "nothing", 0, 0, nothing },
	{ "alloc-only", 1, 1, alloc_only },
	{ "subtree-only", 1, 1, subtree_only },
	{ "subtree-add", 1, 1, subtree_add },
	{ "subtree-del", 1, 1, subtree_del },
	{ "subtree-del-unknown", 0, 0, subtree_del_unknown },
	{ "subtree-get", 1, 2, subtree_get },
	{ "subtree-free", 1, 1, subtree_free },
	{ "kho", 0, 0, kho_state },
	{}
};

static char early[LUO_CTS_NAME];
module_param_string(subtree, early, sizeof(early), 0);
MODULE_PARM_DESC(subtree, "the name of a subtree that is added before LUO adds its own");

/* LUO adds its own in a late_initcall. */
static int __init early_init(void)
{
	char *words[] = { early };

	return early[0] ? subtree_add(words, 1, NULL) : 0;
}
device_initcall(early_init);
