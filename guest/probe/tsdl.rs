// SPDX-License-Identifier: GPL-2.0

//! Metadata of a channel: the text that tells a CTF 1.8 reader what is in the packets (TSDL).
//!
//! `core` only: user space tests compile this very file.
//!
//! The file comes in sections that can be sent one after the other, and makes sense at each moment:
//! 0 has what is known when the channel opens, up to the opening of the enumeration of symbols; 1
//! has its entries, and grows; 2 closes it and has the events.

use core::fmt::{
    Result,
    Write, //
};

/// What is written once for a channel.
pub(crate) struct Trace<'a> {
    /// Also in the head of every packet.
    pub(crate) uuid: &'a [u8; 16],
    /// Id of the boot: one clock.
    pub(crate) boot_id: &'a [u8; 16],
    /// Name of the machine.
    pub(crate) hostname: &'a [u8],
    /// Release of its kernel.
    pub(crate) release: &'a [u8],
    /// Module that writes the channel.
    pub(crate) module: &'a [u8],
    /// Name of the channel.
    pub(crate) channel: &'a [u8],
    /// What the records' timestamps count.
    pub(crate) clock: Clock,
}

/// Clock of the timestamps.
pub(crate) struct Clock {
    /// Ticks in a second, more than 0.
    pub(crate) freq: u64,
    /// Ticks at the time of `realtime_ns`.
    pub(crate) anchor: u64,
    /// Wall clock, nanoseconds since the epoch.
    pub(crate) realtime_ns: u64,
    /// Whether ticks are the TSC's.
    pub(crate) tsc: bool,
}

impl Clock {
    /// Wall clock at tick 0: seconds, which may be negative, and ticks, less than a second's.
    fn offset(&self) -> (i64, u64) {
        const NSEC: u64 = 1_000_000_000;
        let freq = self.freq.max(1);
        let seconds = ((self.realtime_ns / NSEC) as i64).wrapping_sub((self.anchor / freq) as i64);
        // In two parts, so that nothing overflows; the sum is below `freq`.
        let ns = self.realtime_ns % NSEC;
        let ticks = (freq / NSEC)
            .wrapping_mul(ns)
            .wrapping_add((freq % NSEC).wrapping_mul(ns) / NSEC);
        let before = self.anchor % freq;
        match ticks.checked_sub(before) {
            Some(ticks) => (seconds, ticks),
            None => (
                seconds.wrapping_sub(1),
                freq.wrapping_sub(before).wrapping_add(ticks),
            ),
        }
    }
}

/// Type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Integer: one of those that the preamble defines.
    Int(Int),
    /// Text, ended by a NUL.
    String,
    /// A 32-bit length, and that many bytes.
    Bytes,
    /// An address of the kernel, shown by name.
    Symbol,
    /// A 32-bit length, and that many addresses.
    Stack,
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Int {
    /// Size in bits: 8, 16, 32 or 64.
    pub(crate) bits: u8,
    /// Whether it has a sign.
    pub(crate) signed: bool,
    /// Whether it is shown in hexadecimal: 32 and 64 bits without sign only.
    pub(crate) hex: bool,
}

impl Int {
    fn name(self, out: &mut impl Write) -> Result {
        let (sign, hex) = (
            if self.signed { "" } else { "u" },
            if self.hex { "_hex" } else { "" },
        );
        write!(out, "{sign}int{}{hex}_t", self.bits)
    }
}

/// Says whether `name` can name a field or a type: an identifier, no keyword, and not one that the
/// preamble takes.
pub(crate) fn identifier_ok(name: &[u8]) -> bool {
    const KEYWORDS: &str = "align callsite char clock const double enum env event fields float \
        floating_point id int integer long map name short signed size stream string struct trace \
        typealias typedef unsigned variant void";
    match name {
        // A reader takes a leading underscore away.
        [b'a'..=b'z' | b'A'..=b'Z', rest @ ..] => {
            name.len() < 64
                && rest.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_')
                && !KEYWORDS.split(' ').any(|word| word.as_bytes() == name)
        }
        _ => false,
    }
}

/// Writes `text` as what stands between quotes.
fn quoted(out: &mut impl Write, text: &[u8]) -> Result {
    for &byte in text {
        match byte {
            b'"' | b'\\' => {
                out.write_char('\\')?;
                out.write_char(char::from(byte))?;
            }
            b' '..=b'~' => out.write_char(char::from(byte))?,
            _ => out.write_char('?')?,
        }
    }
    Ok(())
}

fn uuid(out: &mut impl Write, uuid: &[u8; 16]) -> Result {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.write_char('-')?;
        }
        write!(out, "{byte:02x}")?;
    }
    Ok(())
}

/// Section 0, first part: types and trace.
fn types(out: &mut impl Write, trace: &Trace<'_>) -> Result {
    out.write_str("/* CTF 1.8 */\n\n")?;
    for (signed, sign) in [(false, "u"), (true, "")] {
        for bits in [8, 16, 32, 64] {
            writeln!(
                out,
                "typealias integer {{ size = {bits}; align = 8; signed = {signed}; }} \
                 := {sign}int{bits}_t;"
            )?;
        }
    }
    for bits in [32, 64] {
        writeln!(
            out,
            "typealias integer {{ size = {bits}; align = 8; signed = false; base = hex; }} \
             := uint{bits}_hex_t;"
        )?;
    }
    out.write_str("\ntrace {\n\tmajor = 1;\n\tminor = 8;\n\tuuid = \"")?;
    uuid(out, trace.uuid)?;
    out.write_str(
        "\";\n\
         \tbyte_order = le;\n\
         \tpacket.header := struct {\n\
         \t\tuint32_t magic;\n\
         \t\tuint8_t uuid[16];\n\
         \t\tuint32_t stream_id;\n\
         \t};\n};\n\nenv {\n",
    )
}

/// Section 0, second part: where the records come from.
fn environment(out: &mut impl Write, trace: &Trace<'_>) -> Result {
    for (key, value) in [
        ("hostname", trace.hostname),
        ("module", trace.module),
        ("channel", trace.channel),
        ("kernel_release", trace.release),
    ] {
        write!(out, "\t{key} = \"")?;
        quoted(out, value)?;
        out.write_str("\";\n")?;
    }
    out.write_str("\tboot_id = \"")?;
    uuid(out, trace.boot_id)?;
    out.write_str(
        "\";\n\ttracer_name = \"vesper\";\n\ttracer_major = 1;\n\ttracer_minor = 0;\n};\n\n",
    )
}

/// Section 0: everything up to the first entry of the enumeration of symbols.
pub(crate) fn preamble(out: &mut impl Write, trace: &Trace<'_>) -> Result {
    types(out, trace)?;
    environment(out, trace)?;
    let (seconds, ticks) = trace.clock.offset();
    out.write_str("clock {\n\tname = vesper_tsc;\n\tuuid = \"")?;
    uuid(out, trace.boot_id)?;
    writeln!(
        out,
        "\";\n\tdescription = \"{}\";\n\tfreq = {};\n\toffset_s = {seconds};\n\toffset = {ticks};\n}};",
        if trace.clock.tsc { "TSC" } else { "monotonic clock" },
        trace.clock.freq,
    )?;
    out.write_str(
        "\ntypealias integer { size = 64; align = 8; signed = false; \
         map = clock.vesper_tsc.value; } := vesper_tsc_t;\n\
         \nstream {\n\
         \tid = 0;\n\
         \tpacket.context := struct {\n\
         \t\tuint32_t cpu_id;\n\
         \t\tuint32_t reserved;\n\
         \t\tvesper_tsc_t timestamp_begin;\n\
         \t\tvesper_tsc_t timestamp_end;\n\
         \t\tuint64_t content_size;\n\
         \t\tuint64_t packet_size;\n\
         \t\tuint64_t packet_seq_num;\n\
         \t\tuint64_t events_discarded;\n\
         \t};\n\
         \tevent.header := struct {\n\
         \t\tuint32_t id;\n\
         \t\tvesper_tsc_t timestamp;\n\
         \t};\n};\n\
         \ntypealias enum : uint64_hex_t {\n\
         \t\"(none)\" = 0,\n",
    )
}

/// Section 1: an entry of the enumeration of symbols.
pub(crate) fn symbol(out: &mut impl Write, name: &[u8], address: u64) -> Result {
    label(out, name, i128::from(address))
}

/// Section 2, start: ends the enumeration of symbols.
pub(crate) fn end_symbols(out: &mut impl Write) -> Result {
    out.write_str("} := vesper_symbol_t;\n")
}

/// Section 2: begins an enumeration of integers.
pub(crate) fn begin_enum(out: &mut impl Write, int: Int) -> Result {
    out.write_str("\ntypealias enum : ")?;
    int.name(out)?;
    out.write_str(" {\n")
}

/// An entry of an enumeration.
pub(crate) fn label(out: &mut impl Write, label: &[u8], value: i128) -> Result {
    out.write_str("\t\"")?;
    quoted(out, label)?;
    writeln!(out, "\" = {value},")
}

/// Section 2: ends the enumeration and names it `name`.
pub(crate) fn end_enum(out: &mut impl Write, name: &[u8]) -> Result {
    out.write_str("} := vesper_")?;
    quoted(out, name)?;
    out.write_str("_t;\n")
}

/// Section 2: begins an event, whose records bear the number `id`.
pub(crate) fn begin_event(out: &mut impl Write, id: u32, name: &[u8]) -> Result {
    out.write_str("\nevent {\n\tname = \"")?;
    quoted(out, name)?;
    writeln!(
        out,
        "\";\n\tid = {id};\n\tstream_id = 0;\n\tfields := struct {{"
    )
}

/// What the name of a length ends with, behind that of the field which it is of.
pub(crate) const LENGTH: &str = "_len";

/// Section 2: a field of the event, of an enumeration if that has a name.
pub(crate) fn field(
    out: &mut impl Write,
    name: &[u8],
    kind: Kind,
    labels: Option<&[u8]>,
) -> Result {
    out.write_str("\t\t")?;
    if matches!(kind, Kind::Bytes | Kind::Stack) {
        out.write_str("uint32_t ")?;
        quoted(out, name)?;
        out.write_str(LENGTH)?;
        out.write_str(";\n\t\t")?;
    }
    match (kind, labels) {
        (Kind::Int(_), Some(labels)) => {
            out.write_str("vesper_")?;
            quoted(out, labels)?;
            out.write_str("_t")?;
        }
        (Kind::Int(int), None) => int.name(out)?,
        (Kind::String, _) => out.write_str("string")?,
        (Kind::Bytes, _) => out.write_str("uint8_t")?,
        (Kind::Symbol | Kind::Stack, _) => out.write_str("vesper_symbol_t")?,
    }
    out.write_char(' ')?;
    quoted(out, name)?;
    if matches!(kind, Kind::Bytes | Kind::Stack) {
        out.write_char('[')?;
        quoted(out, name)?;
        out.write_str(LENGTH)?;
        out.write_char(']')?;
    }
    out.write_str(";\n")
}

/// Section 2: ends the event.
pub(crate) fn end_event(out: &mut impl Write) -> Result {
    out.write_str("\t};\n};\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_offset_is_wall_clock_at_tick_zero() {
        for (freq, anchor, realtime_ns) in [
            (2_450_000_000, 12_345_678_901, 1_700_000_000_123_456_789),
            (1_000_000_000, 5_999_999_999, 1_700_000_000_000_000_001),
            (3_000_000_000, 0, 0),
            (1_000_000_000, 10_000_000_000, 3),
        ] {
            let clock = Clock {
                freq,
                anchor,
                realtime_ns,
                tsc: true,
            };
            let (seconds, ticks) = clock.offset();
            assert!(ticks < freq);
            let ns = i128::from(seconds) * 1_000_000_000
                + (i128::from(ticks) + i128::from(anchor)) * 1_000_000_000 / i128::from(freq);
            assert!(
                (ns - i128::from(realtime_ns)).abs() <= 1,
                "{ns} {realtime_ns}"
            );
        }
    }

    #[test]
    fn identifiers() {
        for good in ["pid", "sender_comm", "X1"] {
            assert!(identifier_ok(good.as_bytes()), "{good}");
        }
        for bad in ["", "_x", "1a", "a-b", "event", "string", "ä", "a b"] {
            assert!(!identifier_ok(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn labels_are_escaped() {
        let mut out = String::new();
        symbol(&mut out, b"a\"b\\c\n+0x1/0x2 [m]", u64::MAX).unwrap();
        assert_eq!(
            out,
            "\t\"a\\\"b\\\\c?+0x1/0x2 [m]\" = 18446744073709551615,\n"
        );
    }

    #[test]
    fn fields() {
        let int = Int {
            bits: 32,
            signed: true,
            hex: false,
        };
        let mut out = String::new();
        begin_event(&mut out, 3, b"e").unwrap();
        field(&mut out, b"a", Kind::Int(int), None).unwrap();
        field(&mut out, b"b", Kind::Int(int), Some(b"signal")).unwrap();
        field(&mut out, b"c", Kind::String, None).unwrap();
        field(&mut out, b"s", Kind::Stack, None).unwrap();
        end_event(&mut out).unwrap();
        assert_eq!(
            out,
            "\nevent {\n\tname = \"e\";\n\tid = 3;\n\tstream_id = 0;\n\tfields := struct {\n\
             \t\tint32_t a;\n\t\tvesper_signal_t b;\n\t\tstring c;\n\
             \t\tuint32_t s_len;\n\t\tvesper_symbol_t s[s_len];\n\t};\n};\n"
        );
    }
}
