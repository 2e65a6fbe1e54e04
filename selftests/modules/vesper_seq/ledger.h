/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ledger of vesper_seq: what the writer itself says of each record, kept
 * apart from VESPER, in memory that outlives the guest.
 *
 * One struct for each CPU, by number, in guest physical memory that the guest
 * kernel does not use otherwise and the VMM has in a file on the host. A record
 * is entered when vesper_record_commit() has returned, so that a guest that
 * dies between the two leaves one record at the most that is committed and not
 * entered: number @begun - 1.
 */
#ifndef _VESPER_SEQ_LEDGER_H
#define _VESPER_SEQ_LEDGER_H

#include <linux/types.h>

#define LEDGER_MAGIC	0x7265676465ULL
#define LEDGER_SIZE	65536
#define LEDGER_WORDS	((LEDGER_SIZE - 64) / 8)
#define LEDGER_RECORDS	(LEDGER_WORDS * 64)

/**
 * struct ledger - the ledger of one CPU
 * @magic: LEDGER_MAGIC, once the module is there
 * @begun: numbers used up, stored before the record is begun
 * @written: records committed
 * @lost: records refused, there being no room
 * @map: bit n is set when record n is committed
 */
struct ledger {
	__u64 magic;
	__u64 begun;
	__u64 written;
	__u64 lost;
	__u64 reserved[4];
	__u64 map[LEDGER_WORDS];
};

#endif /* _VESPER_SEQ_LEDGER_H */
