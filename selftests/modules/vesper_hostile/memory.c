// SPDX-License-Identifier: GPL-2.0
/* Pages to lend, and addresses that are none. */

#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "hostile.h"

/*
 * A pool that lives as long as the module: the host writes into index pages,
 * so one that was given back to the kernel too early would harm us alone.
 */
int memory_init(struct hostile *h)
{
	unsigned int i;

	h->sgs = kvcalloc(MAX_SGS, sizeof(*h->sgs), GFP_KERNEL);
	h->sg_list = kvcalloc(MAX_SGS, sizeof(*h->sg_list), GFP_KERNEL);
	if (!h->sgs || !h->sg_list)
		return -ENOMEM;
	for (i = 0; i < MAX_SGS; i++)
		h->sg_list[i] = &h->sgs[i];
	for (i = 0; i < DATA_PAGES; i++) {
		h->data[i] = alloc_page(GFP_KERNEL);
		if (!h->data[i])
			return -ENOMEM;
	}
	for (i = 0; i < INDEX_PAGES; i++) {
		h->index[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!h->index[i])
			return -ENOMEM;
	}
	return 0;
}

void memory_exit(struct hostile *h)
{
	unsigned int i;

	for (i = 0; i < DATA_PAGES; i++)
		if (h->data[i])
			__free_page(h->data[i]);
	for (i = 0; i < INDEX_PAGES; i++)
		if (h->index[i])
			__free_page(h->index[i]);
	kvfree(h->sg_list);
	kvfree(h->sgs);
}

struct virtio_vesper_index *memory_index(struct hostile *h, u32 number)
{
	return page_address(h->index[number % INDEX_PAGES]);
}

u64 memory_absurd(struct hostile *h)
{
	struct pci_dev *pci = to_pci_dev(h->vdev->dev.parent);

	switch (rng_below(&h->rng, 8)) {
	case 0: /* The device's own registers. */
		return pci_resource_start(pci, 4);
	case 1: /* Its status register among them. */
		return pci_resource_start(pci, 4) + 0x14;
	case 2: /* Firmware. */
		return 0xfffff000;
	case 3: /* A hole of the machine. */
		return 0xfd000000;
	case 4: /* No machine has that much. */
		return 1ull << 46;
	case 5: /* Wraps round. */
		return -(u64)PAGE_SIZE;
	case 6:
		return 1ull << 32;
	default:
		return 0xa0000;
	}
}

/* There need not be a struct page: nobody looks at it. */
void memory_set_phys(struct scatterlist *sg, u64 addr, u32 len)
{
	sg_init_table(sg, 1);
	sg_set_page(sg, pfn_to_page(addr >> PAGE_SHIFT), len,
		    offset_in_page(addr));
}

void memory_flip(struct hostile *h, struct rng *rng)
{
	static const u64 odd[] = {
		0, 1, 2, U32_MAX, 1ull << 32, S64_MAX, U64_MAX, 1ull << 62,
		4096, 4097,
	};
	struct virtio_vesper_index *index;
	u64 old, new, *word;
	unsigned int at;

	index = memory_index(h, rng_below(rng, INDEX_PAGES));
	switch (rng_below(rng, 6)) {
	case 0:
		at = offsetof(struct virtio_vesper_index, version);
		break;
	case 1:
		at = offsetof(struct virtio_vesper_index, open);
		break;
	case 2:
		at = offsetof(struct virtio_vesper_index, consumed);
		break;
	case 3:
		at = offsetof(struct virtio_vesper_index, padding) +
		     rng_below(rng, 8) * 8;
		break;
	default:
		at = offsetof(struct virtio_vesper_index, produced);
		break;
	}
	word = (void *)index + at;
	old = READ_ONCE(*word);
	new = odd[rng_below(rng, ARRAY_SIZE(odd))];
	if (rng_one_in(rng, 4))
		new = old + rng_below(rng, 5) - 2;
	WRITE_ONCE(*word, new);
	udelay(rng_below(rng, 40));
	WRITE_ONCE(*word, old);
}
