// SPDX-License-Identifier: GPL-2.0
/* Messages: valid ones in a sensible order, most of the time. */

#include <linux/errno.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/utsname.h>
#define INCLUDE_VERMAGIC
#include <linux/vermagic.h>

#include "hostile.h"

#define CHANCE(h, n)	rng_one_in(&(h)->rng, n)
#define PICK(h, n)	rng_below(&(h)->rng, n)

static const u16 types[] = {
	VIRTIO_VESPER_C_HELLO, VIRTIO_VESPER_C_OPEN, VIRTIO_VESPER_C_METADATA,
	VIRTIO_VESPER_C_SHARE, VIRTIO_VESPER_C_UNSHARE, VIRTIO_VESPER_C_CLOSE,
	VIRTIO_VESPER_C_RESULT, VIRTIO_VESPER_C_GOODBYE,
	VIRTIO_VESPER_D_FRAGMENT, VIRTIO_VESPER_D_BEAT, VIRTIO_VESPER_N_INDEX,
	VIRTIO_VESPER_N_PANIC, VIRTIO_VESPER_L_LOAD,
};

static struct element *message_new(struct hostile *h, enum message kind,
				   unsigned int queue, u32 len)
{
	struct element *e = element_new(kind, queue, len);
	struct virtio_vesper_hdr *hdr;

	if (!e)
		return NULL;
	hdr = (void *)e->out;
	hdr->type = cpu_to_le16(types[kind]);
	hdr->len = cpu_to_le32(len);
	hdr->id = cpu_to_le32(h->next_id++);
	return e;
}

static u32 odd_number(struct hostile *h, u32 old)
{
	static const u32 odd[] = {
		0, 1, 2, 63, 64, 959, 960, 961, 1022, 1023, 4095, 4096, 4097,
		0x7fffffff, 0x80000000, 0xfffff000, 0xfffffffe, 0xffffffff,
	};

	switch (PICK(h, 4)) {
	case 0:
		return old + 1;
	case 1:
		return old - 1;
	case 2:
		return old ^ (1u << PICK(h, 32));
	default:
		return odd[PICK(h, ARRAY_SIZE(odd))];
	}
}

static void mutate_head(struct hostile *h, struct element *e)
{
	struct virtio_vesper_hdr *hdr = (void *)e->out;

	switch (PICK(h, 4)) {
	case 0:
		hdr->type = cpu_to_le16(types[PICK(h, ARRAY_SIZE(types))]);
		break;
	case 1:
		hdr->type = cpu_to_le16(rng_next(&h->rng));
		break;
	case 2:
		hdr->len = cpu_to_le32(odd_number(h, e->out_len));
		break;
	default:
		hdr->reserved = cpu_to_le32(1u << PICK(h, 32));
		break;
	}
}

/* A message that is shorter than it should be and, mostly, says so. */
static void mutate_length(struct hostile *h, struct element *e)
{
	struct virtio_vesper_hdr *hdr = (void *)e->out;

	e->out_len = 1 + PICK(h, e->out_len);
	if (!CHANCE(h, 4) && e->out_len >= sizeof(*hdr))
		hdr->len = cpu_to_le32(e->out_len);
}

/* Names and sentences that are none. */
static void mutate_string(struct hostile *h, u8 *field, u32 len)
{
	static const char * const bad[] = {
		"..", ".", "", "/", "../../etc", "a/b", ".hidden", "host",
		"\x1b[2J", "a b", "metadata", "-",
	};

	switch (PICK(h, 4)) {
	case 0: /* not terminated */
		memset(field, 'x', len);
		break;
	case 1: /* something behind the end */
		field[len - 1 - PICK(h, 8)] = 'y';
		break;
	case 2:
		field[PICK(h, 8)] = PICK(h, 256);
		break;
	default:
		strscpy_pad(field, bad[PICK(h, ARRAY_SIZE(bad))], len);
		break;
	}
}

static void mutate_field(struct hostile *h, struct element *e)
{
	u32 len = max_t(u32, e->out_len, sizeof(struct virtio_vesper_hdr));
	u32 words = (len - sizeof(struct virtio_vesper_hdr)) / 4;
	__le32 *body = (void *)(e->out + sizeof(struct virtio_vesper_hdr));
	struct virtio_vesper_hdr *hdr = (void *)e->out;
	struct virtio_vesper_result *result = (void *)e->out;
	struct virtio_vesper_hello *hello = (void *)e->out;
	struct virtio_vesper_open *open = (void *)e->out;
	u32 at;

	if (!words || CHANCE(h, 8)) {
		hdr->flags = cpu_to_le16(1u << PICK(h, 16));
		return;
	}
	if (CHANCE(h, 2)) {
		switch (e->kind) {
		case K_OPEN:
			mutate_string(h, CHANCE(h, 2) ? open->module :
				      open->channel, VIRTIO_VESPER_NAME_LEN);
			return;
		case K_HELLO:
			mutate_string(h, CHANCE(h, 2) ? hello->release :
				      hello->vermagic,
				      VIRTIO_VESPER_RELEASE_LEN);
			return;
		case K_RESULT:
			if (CHANCE(h, 2))
				mutate_string(h, result->module,
					      VIRTIO_VESPER_NAME_LEN);
			else
				mutate_string(h, result->text,
					      VIRTIO_VESPER_TEXT_LEN);
			return;
		default:
			break;
		}
	}
	/* The first fields say most. */
	at = PICK(h, CHANCE(h, 2) ? words : min(words, 4u));
	body[at] = cpu_to_le32(odd_number(h, le32_to_cpu(body[at])));
}

void hostile_mutate(struct hostile *h, struct element *e)
{
	u32 dice;

	if (!CHANCE(h, 3))
		return;
	e->mutated = true;
	dice = PICK(h, 300);
	if (dice == 0)
		mutate_head(h, e);
	else if (dice == 1)
		mutate_length(h, e);
	else
		mutate_field(h, e);
	if (CHANCE(h, 5) && e->out_len > sizeof(struct virtio_vesper_hdr) + 4)
		mutate_field(h, e);
}

/* Descriptors of a request: as they should be, or in one way not. */
static void lay_out(struct hostile *h, struct element *e, unsigned int *out,
		    unsigned int *in)
{
	u32 half = 1 + PICK(h, e->out_len);

	*out = 1;
	*in = e->queue == VIRTIO_VESPER_VQ_NOTIFY ? 0 : 1;
	sg_init_one(&h->sgs[0], e->out, e->out_len);
	sg_init_one(&h->sgs[1], e->reply, REPLY_ROOM);
	switch (PICK(h, 2500)) {
	case 0 ... 89: /* In pieces, which is nobody's business. */
		if (half == e->out_len)
			return;
		sg_init_one(&h->sgs[0], e->out, half);
		sg_init_one(&h->sgs[1], e->out + half, e->out_len - half);
		sg_init_one(&h->sgs[2], e->reply, REPLY_ROOM);
		*out = 2;
		return;
	case 90 ... 129: /* The answer, too. */
		if (!*in)
			return;
		sg_init_one(&h->sgs[1], e->reply, 8);
		sg_init_one(&h->sgs[2], e->reply + 8, REPLY_ROOM - 8);
		*in = 2;
		return;
	case 130: /* No room for it. */
		sg_init_one(&h->sgs[1], e->reply, 8 + PICK(h, 24));
		break;
	case 131:
		*in = !*in;
		break;
	case 132: /* The wrong way round. */
		*out = 0;
		*in = 2;
		break;
	case 133:
		memory_set_phys(&h->sgs[0], memory_absurd(h), e->out_len);
		break;
	case 134:
		memory_set_phys(&h->sgs[1], memory_absurd(h), REPLY_ROOM);
		break;
	case 135:
		sg_init_one(&h->sgs[0], e->out, 0);
		break;
	case 136:
		memory_set_phys(&h->sgs[0], page_to_phys(h->data[0]),
				VIRTIO_VESPER_MAX_CONTROL + 1);
		break;
	case 137:
		memory_set_phys(&h->sgs[0], page_to_phys(h->data[0]), U32_MAX);
		break;
	default:
		return;
	}
	e->mutated = true;
}

/*
 * Sends a request and waits for the answer. Returns the answer's value, or a
 * negative number.
 */
static s64 request(struct hostile *h, struct element *e)
{
	struct virtio_vesper_reply *reply = (void *)e->reply;
	unsigned int out, in;
	s64 value = -1;

	hostile_mutate(h, e);
	lay_out(h, e, &out, &in);
	e->waited = true;
	if (!hostile_post(h, e, out, in))
		return -1;
	hostile_kick(h, e->queue);
	/* One that broke the device is freed when the device is reset. */
	if (!hostile_wait(h, e))
		return -1;
	if (!reply->status && !e->mutated)
		value = le32_to_cpu(reply->value);
	element_free(e);
	return value;
}

/* Sends something that nobody waits for. */
static void tell(struct hostile *h, struct element *e)
{
	unsigned int out, in;

	hostile_mutate(h, e);
	lay_out(h, e, &out, &in);
	hostile_post(h, e, out, in);
}

bool hostile_hello(struct hostile *h)
{
	struct element *e = message_new(h, K_HELLO, VIRTIO_VESPER_VQ_CONTROL,
					sizeof(struct virtio_vesper_hello));
	struct virtio_vesper_hello *hello;

	if (!e)
		return false;
	hello = (void *)e->out;
	h->nr_cpus = 2 + PICK(h, 8);
	hello->abi_version = cpu_to_le32(VIRTIO_VESPER_ABI_VERSION);
	hello->nr_cpus = cpu_to_le32(h->nr_cpus);
	hello->tsc_khz = cpu_to_le64(rng_next(&h->rng) >> PICK(h, 64));
	hello->load_policy = cpu_to_le32(PICK(h, 3));
	if (PICK(h, 4))
		hello->features = cpu_to_le32(1u << VIRTIO_VESPER_F_SHARE |
					      1u << VIRTIO_VESPER_F_HEARTBEAT);
	/* The truth, so that the host goes on to send us modules. */
	strscpy_pad(hello->release, init_utsname()->release);
	strscpy_pad(hello->vermagic, VERMAGIC_STRING);
	h->greeted = request(h, e) >= 0;
	return h->greeted;
}

void hostile_offend(struct hostile *h)
{
	struct element *e = message_new(h, K_GOODBYE, VIRTIO_VESPER_VQ_CONTROL,
					sizeof(struct virtio_vesper_hdr));

	if (!e) {
		h->error = "no memory";
		return;
	}
	e->waited = true;
	sg_init_one(&h->sgs[0], e->out, e->out_len);
	sg_init_one(&h->sgs[1], e->reply, REPLY_ROOM);
	if (!hostile_post(h, e, 1, 1)) {
		h->error = "a queue that is full from the beginning";
		return;
	}
	hostile_kick(h, e->queue);
	if (hostile_wait(h, e)) {
		h->error = "a message before hello that was answered";
		element_free(e);
	}
}

static struct channel *any_channel(struct hostile *h)
{
	struct channel *c = &h->channels[PICK(h, MAX_CHANNELS)];

	/* Rather one that there is. */
	return c->open ? c : &h->channels[PICK(h, MAX_CHANNELS)];
}

static void do_open(struct hostile *h)
{
	static const u32 sizes[] = { 4096, 4096, 8192, 16384, 65536 };
	struct channel *c = &h->channels[PICK(h, MAX_CHANNELS)];
	struct virtio_vesper_open *open;
	struct element *e;
	s64 id;

	if (c->open)
		return;
	e = message_new(h, K_OPEN, VIRTIO_VESPER_VQ_CONTROL, sizeof(*open));
	if (!e)
		return;
	memset(c, 0, sizeof(*c));
	c->subbuf_size = sizes[PICK(h, ARRAY_SIZE(sizes))];
	c->n_subbufs = 1 + PICK(h, CHANCE(h, 20) ? 100 : 8);
	c->nr_buffers = MAX_BUFFERS;
	c->flags = PICK(h, 2) ? VIRTIO_VESPER_CHAN_CTF :
		   PICK(h, 2) ? VIRTIO_VESPER_CHAN_FOREIGN : 0;
	if (!(c->flags & VIRTIO_VESPER_CHAN_FOREIGN) && CHANCE(h, 3))
		c->flags |= VIRTIO_VESPER_CHAN_OVERWRITE;
	open = (void *)e->out;
	open->flags = cpu_to_le32(c->flags);
	open->subbuf_size = cpu_to_le32(c->subbuf_size);
	open->n_subbufs = cpu_to_le32(c->n_subbufs);
	open->nr_buffers = cpu_to_le32(c->nr_buffers);
	snprintf(open->module, sizeof(open->module), "fuzz%u", PICK(h, 4));
	snprintf(open->channel, sizeof(open->channel), "chan%tu-",
		 c - h->channels);
	id = request(h, e);
	c->open = id >= 0;
	c->id = id;
}

static void do_metadata(struct hostile *h, bool wait)
{
	struct channel *c = any_channel(h);
	struct virtio_vesper_metadata *metadata;
	u32 len = PICK(h, CHANCE(h, 10) ? 8000 : 200);
	struct element *e = message_new(h, K_METADATA, VIRTIO_VESPER_VQ_CONTROL,
					sizeof(*metadata) + len);

	if (!e)
		return;
	metadata = (void *)e->out;
	metadata->channel = cpu_to_le32(c->id);
	metadata->section = cpu_to_le32(PICK(h, VIRTIO_VESPER_MAX_SECTIONS));
	memset(metadata->text, 'm', len);
	if (wait)
		request(h, e);
	else
		tell(h, e);
}

static void do_buffer(struct hostile *h, enum message kind, struct channel *c,
		      u32 number, bool wait)
{
	struct virtio_vesper_buffer *msg;
	struct element *e = message_new(h, kind, VIRTIO_VESPER_VQ_CONTROL,
					sizeof(*msg));
	struct buffer *b;

	if (!e)
		return;
	msg = (void *)e->out;
	msg->channel = cpu_to_le32(c->id);
	msg->buffer = cpu_to_le32(number);
	if (kind == K_UNSHARE && CHANCE(h, 3))
		msg->hdr.flags = cpu_to_le16(VIRTIO_VESPER_MSG_AGAIN);
	if (!wait) {
		tell(h, e);
		return;
	}
	if (request(h, e) < 0)
		return;
	if (kind == K_CLOSE)
		memset(c, 0, sizeof(*c));
	for (b = c->buffers; b < c->buffers + MAX_BUFFERS; b++) {
		if (number != VIRTIO_VESPER_ALL_BUFFERS &&
		    number != b - c->buffers)
			continue;
		b->shared = kind == K_SHARE && b->lent;
		b->lent = false;
	}
}

/* The pages of a fragment, right or in one way wrong. Gives their number. */
static u32 lay_out_pages(struct hostile *h, struct element *e, u32 first,
			 u32 count, bool index)
{
	u32 at = 2, wrong = CHANCE(h, 25) ? PICK(h, 8) : U32_MAX, i;

	for (i = 0; i < count && at < MAX_SGS; i++, at++) {
		struct page *page = index ? h->index[first % INDEX_PAGES] :
			h->data[(first + i) % DATA_PAGES];

		sg_init_table(&h->sgs[at], 1);
		sg_set_page(&h->sgs[at], page, PAGE_SIZE, 0);
	}
	e->mutated |= wrong != U32_MAX;
	i = 2 + PICK(h, at - 2);
	switch (wrong) {
	case 0:
		h->sgs[i].offset = 1 + PICK(h, PAGE_SIZE - 1);
		h->sgs[i].length = PAGE_SIZE - h->sgs[i].offset;
		break;
	case 1:
		h->sgs[i].length = 1 + PICK(h, PAGE_SIZE - 1);
		break;
	case 2:
		memory_set_phys(&h->sgs[i], memory_absurd(h), PAGE_SIZE);
		break;
	case 3:
		memory_set_phys(&h->sgs[i], memory_absurd(h),
				PAGE_SIZE * (1 + PICK(h, 64)));
		break;
	case 4: /* one too few, maybe none at all */
		at--;
		break;
	case 5: /* twice the same, all of them */
		if (!index)
			for (i = 3; i < at; i++)
				h->sgs[i] = h->sgs[2];
		break;
	case 6: /* no reply */
		h->sgs[1] = h->sgs[2];
		break;
	case 7: /* more than all memory */
		h->sgs[i].length = U32_MAX & PAGE_MASK;
		break;
	default:
		break;
	}
	return at - 1;
}

/* Puts @e on the lend queue, with @count pages from number @page on. */
static void lend_pages(struct hostile *h, struct element *e, u32 page,
		       u32 count, bool index)
{
	unsigned int in;

	if (CHANCE(h, 4))
		hostile_mutate(h, e);
	sg_init_one(&h->sgs[0], e->out, e->out_len);
	sg_init_one(&h->sgs[1], e->reply, REPLY_ROOM);
	in = lay_out_pages(h, e, page, count, index);
	if (CHANCE(h, 200) && in > 1) {
		/* Pages that the device may only read. */
		e->mutated = true;
		h->sgs[1] = h->sgs[2];
		hostile_post(h, e, 2, in - 1);
	} else {
		hostile_post(h, e, 1, in);
	}
}

static void lend(struct hostile *h, struct channel *c, u32 buffer, u32 first,
		 u32 count, u32 page)
{
	struct virtio_vesper_fragment *fragment;
	struct element *e = message_new(h, K_FRAGMENT, VIRTIO_VESPER_VQ_LEND,
					sizeof(*fragment));

	if (!e)
		return;
	fragment = (void *)e->out;
	fragment->channel = cpu_to_le32(c->id);
	fragment->buffer = cpu_to_le32(buffer);
	fragment->first = cpu_to_le32(first);
	fragment->nr_pages = cpu_to_le32(count);
	lend_pages(h, e, page, count, first == VIRTIO_VESPER_INDEX_FRAGMENT);
}

/* A page for the heartbeat, in which an index page may be written later. */
static void do_beat(struct hostile *h)
{
	u32 page = PICK(h, INDEX_PAGES), count = CHANCE(h, 10) ? PICK(h, 4) : 1;
	struct virtio_vesper_beat_head *head;
	struct virtio_vesper_fragment *fragment;
	struct element *e = message_new(h, K_BEAT, VIRTIO_VESPER_VQ_LEND,
					sizeof(*fragment));

	if (!e)
		return;
	head = (void *)memory_index(h, page);
	head->version = cpu_to_le32(VIRTIO_VESPER_BEAT_VERSION);
	head->nr_cpus = cpu_to_le32(CHANCE(h, 4) ? PICK(h, 99) : h->nr_cpus);
	head->state = cpu_to_le32(PICK(h, 5));
	fragment = (void *)e->out;
	fragment->first = cpu_to_le32(VIRTIO_VESPER_INDEX_FRAGMENT);
	fragment->nr_pages = cpu_to_le32(count);
	lend_pages(h, e, page, count, true);
	hostile_kick(h, VIRTIO_VESPER_VQ_LEND);
}

/* All that belongs to a buffer, in some order; then mostly its share. */
static void do_lend(struct hostile *h)
{
	struct channel *c = any_channel(h);
	struct virtio_vesper_index *index;
	u32 pages = c->subbuf_size / PAGE_SIZE * c->n_subbufs, at, count;
	u32 number = PICK(h, MAX_BUFFERS);
	struct buffer *b = &c->buffers[number];
	bool index_first = CHANCE(h, 2);

	if (!c->open || b->shared) {
		/* For nobody, or for the wrong one. */
		lend(h, c, number, PICK(h, 4), 1 + PICK(h, 4),
		     PICK(h, DATA_PAGES));
		hostile_kick(h, VIRTIO_VESPER_VQ_LEND);
		return;
	}
	/* Pages may be in several buffers at once. */
	b->first = PICK(h, DATA_PAGES);
	b->index = CHANCE(h, 20) ? PICK(h, INDEX_PAGES) :
		(c - h->channels) * MAX_BUFFERS + number;
	index = memory_index(h, b->index);
	memset(index, 0, PAGE_SIZE);
	index->version = cpu_to_le32(VIRTIO_VESPER_INDEX_VERSION);
	index->n_subbufs = cpu_to_le32(c->n_subbufs);

	if (index_first)
		lend(h, c, number, VIRTIO_VESPER_INDEX_FRAGMENT, 1, b->index);
	for (at = 0; at < pages; at += count) {
		count = CHANCE(h, 2) ? pages - at : 1 + PICK(h, pages - at);
		count = min(count, VIRTIO_VESPER_MAX_FRAGMENT);
		lend(h, c, number, at, count, b->first + at);
	}
	if (!index_first || CHANCE(h, 20))
		lend(h, c, number, VIRTIO_VESPER_INDEX_FRAGMENT, 1, b->index);
	hostile_kick(h, VIRTIO_VESPER_VQ_LEND);
	b->lent = true;
	if (!CHANCE(h, 8))
		do_buffer(h, K_SHARE, c, CHANCE(h, 4) ?
			  VIRTIO_VESPER_ALL_BUFFERS : number, true);
}

/* Something is produced, and mostly as it should be. */
static void produce(struct hostile *h, struct channel *c, struct buffer *b)
{
	struct virtio_vesper_index *index = memory_index(h, b->index);
	u64 produced = le64_to_cpu(index->produced);
	u64 consumed = le64_to_cpu(READ_ONCE(index->consumed));

	if (produced - consumed < c->n_subbufs) {
		index->padding[produced % c->n_subbufs] =
			cpu_to_le32(PICK(h, c->subbuf_size));
		/* As the host expects it, so that it looks further. */
		smp_store_release(&index->produced, cpu_to_le64(produced + 1));
	}
	index->open = cpu_to_le64((produced + 1) << 32 |
				  PICK(h, c->subbuf_size + 2));
	if (!CHANCE(h, 300))
		return;
	switch (PICK(h, 3)) {
	case 0:
		index->produced = cpu_to_le64(rng_next(&h->rng));
		break;
	case 1:
		index->produced = cpu_to_le64(produced - 1);
		break;
	default:
		index->padding[produced % c->n_subbufs] =
			cpu_to_le32(odd_number(h, c->subbuf_size));
		break;
	}
}

static void do_notify(struct hostile *h)
{
	struct channel *c = any_channel(h);
	u32 number = PICK(h, MAX_BUFFERS);
	struct virtio_vesper_notify *notify;
	struct element *e = message_new(h, K_INDEX, VIRTIO_VESPER_VQ_NOTIFY,
					sizeof(*notify));

	if (!e)
		return;
	if (c->open && c->buffers[number].shared)
		produce(h, c, &c->buffers[number]);
	notify = (void *)e->out;
	notify->channel = cpu_to_le32(c->id);
	notify->buffer = cpu_to_le32(number);
	notify->produced = cpu_to_le64(rng_next(&h->rng));
	notify->hdr.flags = cpu_to_le16(PICK(h, 2));
	tell(h, e);
}

static void do_panic(struct hostile *h)
{
	bool bare = CHANCE(h, 2);
	struct element *e;

	e = message_new(h, K_PANIC, VIRTIO_VESPER_VQ_NOTIFY, bare ?
			sizeof(struct virtio_vesper_hdr) :
			sizeof(struct virtio_vesper_notify));
	if (!e)
		return;
	if (CHANCE(h, 6)) {
		e->mutated = true;
		mutate_length(h, e);
	}
	tell(h, e);
}

static void do_result(struct hostile *h, bool wait)
{
	struct virtio_vesper_result *result;
	struct element *e = message_new(h, K_RESULT, VIRTIO_VESPER_VQ_CONTROL,
					sizeof(*result));

	if (!e)
		return;
	result = (void *)e->out;
	if (h->owed)
		result->hdr.id = cpu_to_le32(h->ids[(h->nr_ids - 1) % MAX_IDS]);
	else if (h->nr_ids)
		result->hdr.id = cpu_to_le32(h->ids[PICK(h, min_t(u32,
								  h->nr_ids,
								  MAX_IDS))]);
	h->owed = false;
	result->status = cpu_to_le32(CHANCE(h, 2) ? 0 : PICK(h, 200));
	result->stage = cpu_to_le32(PICK(h, 4));
	snprintf(result->module, sizeof(result->module), "fuzz%u", PICK(h, 4));
	strscpy_pad(result->text, "no reason at all");
	if (wait)
		request(h, e);
	else
		tell(h, e);
}

static void do_goodbye(struct hostile *h)
{
	struct element *e = message_new(h, K_GOODBYE, VIRTIO_VESPER_VQ_CONTROL,
					sizeof(struct virtio_vesper_hdr));

	if (!e || request(h, e) < 0)
		return;
	h->greeted = false;
	memset(h->channels, 0, sizeof(h->channels));
}

static void do_loader(struct hostile *h)
{
	struct element *e = element_new(K_LOADER, VIRTIO_VESPER_VQ_LOADER, 0);
	bool out = false;

	if (!e)
		return;
	sg_init_one(&h->sgs[0], e->out, LOADER_ROOM);
	switch (PICK(h, 100)) {
	case 0: /* too small */
		h->sgs[0].length = 1 + PICK(h, 511);
		e->mutated = true;
		break;
	case 1:
		out = true;
		e->mutated = true;
		break;
	case 2:
		memory_set_phys(&h->sgs[0], memory_absurd(h), LOADER_ROOM);
		e->mutated = true;
		break;
	case 3 ... 20: /* the least there can be */
		h->sgs[0].length = 512;
		break;
	default:
		break;
	}
	h->posted++;
	if (!hostile_post(h, e, out, !out))
		h->posted--;
	else
		hostile_kick(h, VIRTIO_VESPER_VQ_LOADER);
}

/* As much as the queues take, and only then a kick. */
static void do_flood(struct hostile *h)
{
	u32 count = 10 + PICK(h, 100), what = PICK(h, 4), i;

	for (i = 0; i < count; i++) {
		switch (what) {
		case 0:
			do_notify(h);
			break;
		case 1:
			do_metadata(h, false);
			break;
		case 2:
			do_buffer(h, CHANCE(h, 2) ? K_SHARE : K_UNSHARE,
				  any_channel(h), PICK(h, MAX_BUFFERS + 1),
				  false);
			break;
		default:
			do_result(h, false);
			break;
		}
		if (hostile_broken(h))
			return;
	}
	hostile_kick(h, what ? VIRTIO_VESPER_VQ_CONTROL :
		     VIRTIO_VESPER_VQ_NOTIFY);
}

void hostile_step(struct hostile *h)
{
	u32 number = PICK(h, 4) ? PICK(h, MAX_BUFFERS) :
		VIRTIO_VESPER_ALL_BUFFERS;
	u32 i;

	if (!h->greeted && !CHANCE(h, 60)) {
		hostile_hello(h);
		return;
	}
	if (h->posted < 8)
		do_loader(h);
	/* Nobody waits for it for ever. */
	if (h->owed && CHANCE(h, 4)) {
		do_result(h, true);
		return;
	}
	switch (PICK(h, 200)) {
	case 0 ... 39:
		do_open(h);
		break;
	case 40 ... 54:
		do_metadata(h, true);
		break;
	case 55 ... 94:
		do_lend(h);
		break;
	case 95 ... 139:
		for (i = PICK(h, 16); i; i--)
			do_notify(h);
		hostile_kick(h, VIRTIO_VESPER_VQ_NOTIFY);
		break;
	case 140 ... 154:
		do_buffer(h, K_UNSHARE, any_channel(h), number, true);
		break;
	case 155 ... 164:
		do_buffer(h, K_CLOSE, any_channel(h), CHANCE(h, 10) ? number :
			  VIRTIO_VESPER_ALL_BUFFERS, true);
		break;
	case 165 ... 174:
		do_result(h, true);
		break;
	case 175 ... 178:
		do_beat(h);
		break;
	case 179 ... 182:
		do_buffer(h, K_SHARE, any_channel(h), number, true);
		break;
	case 183 ... 186:
		do_panic(h);
		hostile_kick(h, VIRTIO_VESPER_VQ_NOTIFY);
		break;
	case 187 ... 188:
		do_goodbye(h);
		break;
	case 189:
		if (CHANCE(h, 2))
			hostile_hello(h);
		else
			hostile_scribble_ring(h);
		break;
	default:
		do_flood(h);
		break;
	}
}
