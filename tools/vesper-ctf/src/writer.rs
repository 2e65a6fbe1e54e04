// SPDX-License-Identifier: GPL-2.0

//! A writer of small traces in the form that the guest's probe API gives them,
//! for tests here and in other crates.

use vesper_abi::packet::{PacketHead, HEAD_LEN};

/// UUID of all traces that are written here.
pub const UUID: [u8; 16] = [
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
];

/// Types, trace, env, clock and stream, as probes begin their metadata.
pub const PREAMBLE: &str = r#"/* CTF 1.8 */

typealias integer { size = 8; align = 8; signed = false; } := uint8_t;
typealias integer { size = 16; align = 8; signed = false; } := uint16_t;
typealias integer { size = 32; align = 8; signed = false; } := uint32_t;
typealias integer { size = 64; align = 8; signed = false; } := uint64_t;
typealias integer { size = 8; align = 8; signed = true; } := int8_t;
typealias integer { size = 16; align = 8; signed = true; } := int16_t;
typealias integer { size = 32; align = 8; signed = true; } := int32_t;
typealias integer { size = 64; align = 8; signed = true; } := int64_t;
typealias integer { size = 64; align = 8; signed = false; base = hex; } := uint64_hex_t;
typealias integer { size = 8; align = 8; signed = false; encoding = UTF8; } := char_t;

trace {
	major = 1;
	minor = 8;
	uuid = "10111213-1415-1617-1819-1a1b1c1d1e1f";
	byte_order = le;
	packet.header := struct {
		uint32_t magic;
		uint8_t uuid[16];
		uint32_t stream_id;
	};
};

env {
	hostname = "web1";
	domain = "web1";
	module = "signal";
	tracer_name = "vesper";
	tracer_major = 1;
};

clock {
	name = vesper_tsc;
	uuid = "3b241101-e2bb-4255-8caf-4136c566a962";
	description = "guest TSC";
	freq = 2000000000;
	offset_s = 1700000000;
	offset = 1000000000;
};

typealias integer { size = 64; align = 8; signed = false; map = clock.vesper_tsc.value; } := vesper_tsc_t;

stream {
	id = 0;
	packet.context := struct {
		uint32_t cpu_id;
		uint32_t reserved;
		vesper_tsc_t timestamp_begin;
		vesper_tsc_t timestamp_end;
		uint64_t content_size;
		uint64_t packet_size;
		uint64_t packet_seq_num;
		uint64_t events_discarded;
	};
	event.header := struct {
		uint32_t id;
		vesper_tsc_t timestamp;
	};
};
"#;

/// Events of the signal probe, with the symbols in `symbols`.
pub fn signal_metadata(symbols: &[(&str, u64)]) -> String {
    let mut text = PREAMBLE.to_owned();
    text += "\ntypealias enum : uint64_hex_t {\n\t\"(none)\" = 0,\n";
    for (name, address) in symbols {
        text += &format!("\t\"{name}\" = {address},\n");
    }
    text += r#"} := vesper_symbol_t;

typealias enum : int32_t {
	"SIGHUP" = 1,
	"SIGTERM" = 15,
} := vesper_signal_t;

event {
	name = "signal";
	id = 0;
	stream_id = 0;
	fields := struct {
		int32_t sender_pid;
		string sender_comm;
		vesper_signal_t sig;
		uint32_t stack_len;
		vesper_symbol_t stack[stack_len];
	};
};
"#;
    text
}

/// Bytes of one event: header, then what is put behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBytes {
    /// The clock's cycles.
    pub timestamp: u64,
    bytes: Vec<u8>,
}

impl EventBytes {
    /// The header that [`PREAMBLE`] describes.
    pub fn new(id: u32, timestamp: u64) -> Self {
        let mut bytes = id.to_le_bytes().to_vec();
        bytes.extend(timestamp.to_le_bytes());
        Self { timestamp, bytes }
    }

    /// Adds bytes as they are; an integer by its `to_le_bytes()`.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend(bytes.as_ref());
        self
    }

    /// Adds a string and its terminator.
    pub fn string(self, text: impl AsRef<[u8]>) -> Self {
        self.raw(text).raw([0])
    }
}

/// An event as [`signal_metadata`] describes it.
pub fn signal_event(timestamp: u64, pid: i32, comm: &str, sig: i32, stack: &[u64]) -> EventBytes {
    let mut event = EventBytes::new(0, timestamp)
        .raw(pid.to_le_bytes())
        .string(comm)
        .raw(sig.to_le_bytes())
        .raw((stack.len() as u32).to_le_bytes());
    for address in stack {
        event = event.raw(address.to_le_bytes());
    }
    event
}

/// Writer of the packets of one CPU.
#[derive(Debug, Clone, Default)]
pub struct PacketWriter {
    cpu: u32,
    sequence: u64,
    discarded: u64,
}

impl PacketWriter {
    /// Starts with sub-buffer 0.
    pub fn new(cpu: u32) -> Self {
        Self {
            cpu,
            ..Self::default()
        }
    }

    /// Counts records that the next packet reports as dropped.
    pub fn discard(&mut self, records: u64) {
        self.discarded += records;
    }

    /// Leaves out sub-buffers.
    pub fn skip(&mut self, packets: u64) {
        self.sequence += packets;
    }

    /// The next packet, with these events.
    pub fn packet(&mut self, events: &[EventBytes]) -> Vec<u8> {
        let content: usize = events.iter().map(|event| event.bytes.len()).sum();
        let time = |event: Option<&EventBytes>| event.map_or(0, |event| event.timestamp);
        let head = PacketHead {
            uuid: UUID,
            cpu: self.cpu,
            tsc_begin: time(events.first()),
            tsc_end: time(events.last()),
            content_len: HEAD_LEN + content,
            packet_len: HEAD_LEN + content,
            sequence: self.sequence,
            discarded: self.discarded,
        };
        self.sequence += 1;
        let mut packet = head.to_bytes().to_vec();
        for event in events {
            packet.extend(&event.bytes);
        }
        packet
    }
}
