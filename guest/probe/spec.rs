// SPDX-License-Identifier: GPL-2.0

//! The description of a channel as a probe gives it, in C, read and checked.

use super::{
    text::Text,
    tsdl::{
        self,
        Int,
        Kind, //
    },
};
use crate::{
    abi,
    bindings,
    clock,
    listener::Description, //
};
use core::slice;
use kernel::{
    cpu,
    ffi::c_char,
    fmt,
    prelude::*, //
};

const SUBBUF_SIZE: u32 = 8192;
const N_SUBBUFS: u32 = 8;
const SWITCH_MS: u32 = 100;
/// Longest time a record may be made to wait: an hour.
const MAX_SWITCH_MS: u32 = 3_600_000;
const MAX_EVENTS: u32 = 256;
const MAX_FIELDS: u32 = 64;
const MAX_LABELS: u32 = 1024;
/// Longest name or label: those who read traces take no longer ones.
const MAX_TEXT: usize = 512;
const NSEC_PER_MSEC: u64 = 1_000_000;

/// What is to be opened.
pub(crate) struct Spec {
    pub(crate) description: Description,
    pub(crate) switch_ns: u64,
    pub(crate) preamble: Text,
    pub(crate) events: Text,
}

fn no_memory(_: fmt::Error) -> Error {
    ENOMEM
}

/// A table in C.
///
/// # Safety
///
/// `table` has `len` valid entries, which live as long as `'a`.
unsafe fn table<'a, T>(table: *const T, len: u32, max: u32) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if table.is_null() || len > max {
        return Err(EINVAL);
    }
    // SAFETY: By the contract above.
    Ok(unsafe { slice::from_raw_parts(table, len as usize) })
}

/// A string in C, of no more than [`MAX_TEXT`] bytes.
///
/// # Safety
///
/// `text` is null or a string that lives as long as `'a`.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a [u8]> {
    if text.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: By the contract above.
    let text = unsafe { CStr::from_char_ptr(text) }.to_bytes();
    match text.len() <= MAX_TEXT {
        true => Ok(text),
        false => Err(EINVAL),
    }
}

/// Makes the field of a message out of a name that obeys the rule.
fn name_field(name: &[u8]) -> Result<[u8; abi::NAME_LEN]> {
    let mut field = [0; abi::NAME_LEN];
    if !abi::name_ok(name) {
        return Err(EINVAL);
    }
    field
        .get_mut(..name.len())
        .ok_or(EINVAL)?
        .copy_from_slice(name);
    Ok(field)
}

fn kind(field: &bindings::vesper_field) -> Result<Kind> {
    let int = |bits, signed, hex| Kind::Int(Int { bits, signed, hex });
    Ok(match field.type_ {
        bindings::VESPER_TYPE_U8 => int(8, false, false),
        bindings::VESPER_TYPE_U16 => int(16, false, false),
        bindings::VESPER_TYPE_U32 => int(32, false, false),
        bindings::VESPER_TYPE_U64 => int(64, false, false),
        bindings::VESPER_TYPE_S8 => int(8, true, false),
        bindings::VESPER_TYPE_S16 => int(16, true, false),
        bindings::VESPER_TYPE_S32 => int(32, true, false),
        bindings::VESPER_TYPE_S64 => int(64, true, false),
        bindings::VESPER_TYPE_X32 => int(32, false, true),
        bindings::VESPER_TYPE_X64 => int(64, false, true),
        bindings::VESPER_TYPE_STRING => Kind::String,
        bindings::VESPER_TYPE_BYTES => Kind::Bytes,
        bindings::VESPER_TYPE_SYMBOL => Kind::Symbol,
        bindings::VESPER_TYPE_STACK => Kind::Stack,
        _ => return Err(EINVAL),
    })
}

/// Writes the enumeration that a field has.
///
/// # Safety
///
/// As for [`Spec::read`].
unsafe fn enumeration(out: &mut Text, int: Int, labels: &bindings::vesper_labels) -> Result {
    // SAFETY: By the contract above.
    let (name, entries) = unsafe {
        (
            text(labels.name)?,
            table(labels.labels, labels.nr_labels, MAX_LABELS)?,
        )
    };
    if !tsdl::identifier_ok(name) || entries.is_empty() {
        return Err(EINVAL);
    }
    tsdl::begin_enum(out, int).map_err(no_memory)?;
    for entry in entries {
        // Labels of unsigned types beyond 2^63 would need another member; nobody has missed it.
        // SAFETY: By the contract above.
        tsdl::label(out, unsafe { text(entry.label)? }, entry.value.into()).map_err(no_memory)?;
    }
    tsdl::end_enum(out, name).map_err(no_memory)
}

/// Writes section 2 of the metadata: enumerations first, each once, then the events.
///
/// # Safety
///
/// As for [`Spec::read`].
unsafe fn events(events: &[bindings::vesper_event]) -> Result<Text> {
    let mut out = Text::new();
    let mut seen: KVec<(*const bindings::vesper_labels, Int)> = KVec::new();
    tsdl::end_symbols(&mut out).map_err(no_memory)?;
    for event in events {
        // SAFETY: By the contract above.
        for field in unsafe { table(event.fields, event.nr_fields, MAX_FIELDS)? } {
            // SAFETY: By the contract above: null, or valid.
            let Some(labels) = (unsafe { field.labels.as_ref() }) else {
                continue;
            };
            let Kind::Int(int) = kind(field)? else {
                return Err(EINVAL);
            };
            match seen.iter().find(|(known, _)| *known == field.labels) {
                Some((_, known)) if *known == int => continue,
                Some(_) => return Err(EINVAL),
                None => {
                    for (other, _) in seen.iter() {
                        // SAFETY: By the contract above, which all that were seen obey.
                        if unsafe { text((**other).name)? == text(labels.name)? } {
                            return Err(EINVAL);
                        }
                    }
                    seen.push((field.labels, int), GFP_KERNEL)?;
                }
            }
            // SAFETY: By the contract above.
            unsafe { enumeration(&mut out, int, labels)? };
        }
    }
    for (id, event) in (0u32..).zip(events) {
        // SAFETY: By the contract above.
        unsafe { one_event(&mut out, id, event)? };
    }
    Ok(out)
}

/// Whether a field called `name` would be taken for what comes before `other`, if that is of
/// this kind: its length.
fn is_length_of(name: &[u8], other: &[u8], kind: Kind) -> bool {
    matches!(kind, Kind::Bytes | Kind::Stack)
        && name
            .strip_suffix(tsdl::LENGTH.as_bytes())
            .is_some_and(|of| of == other)
}

/// # Safety
///
/// As for [`Spec::read`].
unsafe fn one_event(out: &mut Text, id: u32, event: &bindings::vesper_event) -> Result {
    // SAFETY: By the contract above.
    let (name, fields) = unsafe {
        (
            text(event.name)?,
            table(event.fields, event.nr_fields, MAX_FIELDS)?,
        )
    };
    if name.is_empty() {
        return Err(EINVAL);
    }
    tsdl::begin_event(out, id, name).map_err(no_memory)?;
    for (i, field) in fields.iter().enumerate() {
        // SAFETY: By the contract above.
        let name = unsafe { text(field.name)? };
        if !tsdl::identifier_ok(name) {
            return Err(EINVAL);
        }
        for other in fields.iter().take(i) {
            // SAFETY: By the contract above.
            let known = unsafe { text(other.name)? };
            if known == name
                || is_length_of(known, name, kind(field)?)
                || is_length_of(name, known, kind(other)?)
            {
                return Err(EINVAL);
            }
        }
        // SAFETY: By the contract above: null, or valid.
        let labels = match unsafe { field.labels.as_ref() } {
            // SAFETY: By the contract above.
            Some(labels) => Some(unsafe { text(labels.name)? }),
            None => None,
        };
        tsdl::field(out, name, kind(field)?, labels).map_err(no_memory)?;
    }
    tsdl::end_event(out).map_err(no_memory)
}

/// Name and release of this machine.
fn uts() -> (&'static [u8], &'static [u8]) {
    // SAFETY: The initial UTS namespace is static, and its strings are terminated, while a name is
    // being changed, too.
    unsafe {
        (
            CStr::from_char_ptr(bindings::vesper_helper_uts_nodename()).to_bytes(),
            CStr::from_char_ptr(bindings::vesper_helper_release()).to_bytes(),
        )
    }
}

fn preamble(description: &Description) -> Result<Text> {
    let (hostname, release) = uts();
    let khz = clock::frequency_khz();
    let anchor = clock::anchor();
    let mut out = Text::new();
    let trace = tsdl::Trace {
        uuid: &description.uuid,
        boot_id: &crate::boot_id(),
        hostname,
        release,
        module: super::store::name(&description.module),
        channel: super::store::name(&description.channel),
        clock: tsdl::Clock {
            freq: if khz == 0 {
                1_000_000_000
            } else {
                u64::from(khz).wrapping_mul(1000)
            },
            anchor: anchor.now,
            realtime_ns: anchor.realtime_ns,
            tsc: khz != 0,
        },
    };
    tsdl::preamble(&mut out, &trace).map_err(no_memory)?;
    Ok(out)
}

impl Spec {
    /// Reads and checks what a probe gave. Process context.
    ///
    /// # Safety
    ///
    /// Every pointer in `spec` is null or points to what `include/vesper/probe.h` says, valid
    /// during the call; `owner` is the module that calls.
    pub(crate) unsafe fn read(spec: &bindings::vesper_channel_spec) -> Result<Self> {
        if spec.owner.is_null()
            || spec.nr_events == 0
            || spec.flags & !bindings::VESPER_CHANNEL_OVERWRITE != 0
            || spec.switch_ms > MAX_SWITCH_MS
        {
            return Err(EINVAL);
        }
        let or = |value, default| if value == 0 { default } else { value };
        let (size, n) = (
            or(spec.subbuf_size, SUBBUF_SIZE),
            or(spec.n_subbufs, N_SUBBUFS),
        );
        let Some(geometry) = abi::Geometry::new(size, n) else {
            pr_err!(
                "{n} sub-buffers of {size} bytes do not make a buffer: sizes are multiples of {}, \
                 numbers at most {}, buffers at most {} bytes\n",
                abi::PAGE_SIZE,
                abi::MAX_SUBBUFS,
                abi::MAX_BUFFER
            );
            return Err(EINVAL);
        };
        let mut flags = bindings::VIRTIO_VESPER_CHAN_CTF;
        if spec.flags & bindings::VESPER_CHANNEL_OVERWRITE != 0 {
            if n < 2 {
                pr_err!(
                    "a buffer that is overwritten needs two sub-buffers: one is being written\n"
                );
                return Err(EINVAL);
            }
            flags |= bindings::VIRTIO_VESPER_CHAN_OVERWRITE;
        }
        // SAFETY: By the contract above; the name of a module is a terminated string.
        let (module, channel, table) = unsafe {
            (
                CStr::from_char_ptr((*spec.owner).name.as_ptr()).to_bytes(),
                if spec.name.is_null() {
                    b"cpu"
                } else {
                    text(spec.name)?
                },
                table(spec.events, spec.nr_events, MAX_EVENTS)?,
            )
        };
        let mut uuid = [0; 16];
        // SAFETY: Writes as many bytes.
        unsafe { bindings::generate_random_uuid(uuid.as_mut_ptr()) };
        let description = Description {
            module: name_field(module)?,
            channel: name_field(channel)?,
            uuid,
            geometry,
            flags,
            nr_buffers: cpu::nr_cpu_ids(),
        };
        Ok(Self {
            preamble: preamble(&description)?,
            // SAFETY: By the contract above.
            events: unsafe { events(table)? },
            switch_ns: u64::from(or(spec.switch_ms, SWITCH_MS)).wrapping_mul(NSEC_PER_MSEC),
            description,
        })
    }

    /// Whether the channel writes over the oldest when it is full.
    pub(crate) fn overwrite(&self) -> bool {
        self.description.flags & bindings::VIRTIO_VESPER_CHAN_OVERWRITE != 0
    }
}
