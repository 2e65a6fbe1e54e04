// SPDX-License-Identifier: GPL-2.0

//! The functions of the probe API, as C and the modules of probes see them. `exports.c` exports
//! them.
//!
//! C header: `include/vesper/probe.h`, where each is documented.

use super::{
    channel::Handle,
    hook::{
        self,
        Hook, //
    },
    lane::Lane,
    points::Points,
    spec::Spec, //
};
use crate::{
    bindings,
    later::this_module,
    sys::{
        cpu::IrqOff,
        deferred::Deferred,
        memory,
        module::Module,
        symbol, //
    },
};
use core::{
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use kernel::{
    ffi::{
        c_char,
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*, //
};

/// Bytes in front of the fields of a record: number of the event, and time.
const RECORD_HEAD: usize = 12;

/// Makes sure that a function is what its C declaration says.
macro_rules! declared {
    ($($name:ident),* $(,)?) => {
        $(const _: () = { let _ = if true { bindings::$name } else { $name }; };)*
    };
}

declared!(
    vesper_channel_close,
    vesper_channel_flush,
    vesper_channel_open,
    vesper_hook_attach,
    vesper_hook_detach,
    vesper_points_attach,
    vesper_points_detach,
    vesper_put_bytes,
    vesper_put_names,
    vesper_put_string,
    vesper_put_symbols,
    vesper_read,
    vesper_read_string,
    vesper_record_begin,
    vesper_record_commit,
    vesper_record_discard,
    vesper_stack_save,
    vesper_test_consume,
    vesper_tracepoint_attach,
);

fn err_ptr<T>(error: Error) -> *mut T {
    error.to_ptr()
}

/// # Safety
///
/// `channel` came from [`vesper_channel_open`] and was not closed.
unsafe fn handle<'a>(channel: *mut bindings::vesper_channel) -> &'a Handle {
    // SAFETY: A channel, as the caller has it, is a `Handle`.
    unsafe { &*channel.cast::<Handle>() }
}

/// # Safety
///
/// `spec` is as the C header wants it.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_channel_open(
    spec: *const bindings::vesper_channel_spec,
) -> *mut bindings::vesper_channel {
    // SAFETY: By the contract above.
    let opened = unsafe { spec.as_ref() }
        .ok_or(EINVAL)
        // SAFETY: By the contract above.
        .and_then(|spec| unsafe { Spec::read(spec) })
        .and_then(Handle::open)
        .and_then(|handle| Ok(KBox::new(handle, GFP_KERNEL)?));
    match opened {
        Ok(handle) => KBox::into_raw(handle).cast(),
        Err(e) => err_ptr(e),
    }
}

/// # Safety
///
/// `channel` came from [`vesper_channel_open`]; nobody uses it any more.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_channel_close(channel: *mut bindings::vesper_channel) {
    // SAFETY: By the contract above it is a `Handle` that `vesper_channel_open` boxed.
    drop(unsafe { KBox::from_raw(channel.cast::<Handle>()) });
}

/// # Safety
///
/// `channel` is open.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_channel_flush(channel: *mut bindings::vesper_channel) {
    // SAFETY: By the contract above.
    unsafe { handle(channel) }.flush();
}

/// # Safety
///
/// `channel` is open, `record` can be written.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_record_begin(
    channel: *mut bindings::vesper_channel,
    event: u32,
    len: u32,
    record: *mut bindings::vesper_record,
) -> bool {
    let irq = IrqOff::new();
    // SAFETY: By the contract above.
    let Some(lane) = (unsafe { handle(channel) }).channel().lane(&irq) else {
        return false;
    };
    let len = (len as usize).saturating_add(RECORD_HEAD);
    let Some((access, room, time)) = Lane::begin(lane, irq, len) else {
        return false;
    };
    // SAFETY: The room has `RECORD_HEAD` bytes at least, and `record` is the caller's.
    unsafe {
        room.pos.cast::<u32>().write_unaligned(event.to_le());
        room.pos
            .add(size_of::<u32>())
            .cast::<u64>()
            .write_unaligned(time.to_le());
        record.write(bindings::vesper_record {
            pos: room.pos.add(RECORD_HEAD),
            end: room.end,
            start: room.pos,
            lane: ptr::from_ref(lane).cast(),
            time,
            irq_flags: access.suspend(),
        });
    }
    true
}

/// The lane of a begun record, and what was set aside of it.
///
/// # Safety
///
/// `record` was begun in this context, and neither committed nor discarded.
unsafe fn lane<'a>(record: &bindings::vesper_record) -> &'a Deferred<Lane> {
    // SAFETY: By the contract above; the lane lives as long as the channel.
    unsafe { &*record.lane.cast::<Deferred<Lane>>() }
}

/// # Safety
///
/// `record` was begun in this context, and neither committed nor discarded.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_record_commit(
    record: *mut bindings::vesper_record,
    flags: u32,
) {
    // SAFETY: By the contract above; the access is taken up once.
    let (record, lane, access) = unsafe {
        let record = &*record;
        let lane = lane(record);
        (record, lane, lane.resume(record.irq_flags))
    };
    let (start, pos, end) = (
        record.start.addr(),
        record.pos.addr(),
        record.end.addr(), //
    );
    let len = (start <= pos && pos <= end).then(|| pos.wrapping_sub(start));
    let urgent = flags & bindings::VESPER_RECORD_URGENT != 0;
    Lane::commit(lane, access, len, record.time, urgent);
}

/// # Safety
///
/// `record` was begun in this context, and neither committed nor discarded.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_record_discard(record: *mut bindings::vesper_record) {
    // SAFETY: By the contract above; the access is taken up once.
    unsafe {
        let record = &*record;
        drop(lane(record).resume(record.irq_flags));
    }
}

/// Puts bytes, if they fit; moves on in any case, so that commit sees that they did not.
///
/// # Safety
///
/// `data` has `len` bytes.
#[inline]
unsafe fn put(record: &mut bindings::vesper_record, data: *const u8, len: usize) {
    if len <= record.end.addr().saturating_sub(record.pos.addr()) {
        // SAFETY: There is room for `len` bytes at `pos`, and nobody else writes there.
        unsafe { ptr::copy_nonoverlapping(data, record.pos, len) };
    }
    record.pos = record.pos.wrapping_add(len);
}

/// # Safety
///
/// `record` is begun, `data` has `len` bytes.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_put_bytes(
    record: *mut bindings::vesper_record,
    data: *const c_void,
    len: u32,
) {
    // SAFETY: By the contract above.
    unsafe {
        let record = &mut *record;
        put(record, ptr::from_ref(&len.to_le()).cast(), size_of::<u32>());
        put(record, data.cast(), len as usize);
    }
}

/// # Safety
///
/// `record` is begun, `text` is readable up to a NUL or for `max` bytes.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_put_string(
    record: *mut bindings::vesper_record,
    text: *const c_char,
    max: u32,
) {
    // SAFETY: By the contract above. A string that changes meanwhile (a task's name does) is cut at
    // a NUL that comes or not: the copy ends in any case, and bears one.
    unsafe {
        let record = &mut *record;
        let mut len = 0usize;
        while len < max as usize && *text.add(len) != 0 {
            len = len.wrapping_add(1);
        }
        let start = record.pos;
        put(record, text.cast(), len);
        put(record, ptr::from_ref(&0u8), 1);
        // A NUL that came in after the length was taken would end the field too early for the ones
        // behind it.
        if record.pos.addr() <= record.end.addr() {
            for byte in slice::from_raw_parts_mut(start, len) {
                if *byte == 0 {
                    *byte = b'?';
                }
            }
        }
    }
}

/// # Safety
///
/// `record` is begun, `addresses` has `nr` of them.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_put_symbols(
    record: *mut bindings::vesper_record,
    addresses: *const c_ulong,
    nr: u32,
) {
    if nr == 0 {
        return;
    }
    // SAFETY: By the contract above; the machine is little-endian, as the records are.
    unsafe {
        let record = &mut *record;
        let addresses = slice::from_raw_parts(addresses, nr as usize);
        put(
            record,
            addresses.as_ptr().cast(),
            size_of::<u64>().wrapping_mul(addresses.len()),
        );
        if record.pos.addr() <= record.end.addr() {
            Lane::note_symbols(lane(record), addresses.iter().map(|&a| a as u64));
        }
    }
}

/// # Safety
///
/// `record` is begun, `addresses` has `nr` of them.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_put_names(
    record: *mut bindings::vesper_record,
    addresses: *const c_ulong,
    nr: u32,
    max: u32,
) {
    // SAFETY: By the contract above.
    let (record, addresses) = unsafe {
        let addresses = if nr == 0 {
            &[]
        } else {
            slice::from_raw_parts(addresses, nr as usize)
        };
        (&mut *record, addresses)
    };
    let mut left = max as usize;
    for (n, &address) in addresses.iter().enumerate() {
        let rest = symbol::with_name(address as u64, |name| {
            let between: &[u8] = if n == 0 { b"" } else { b"\n" };
            let rest = left.checked_sub(between.len().wrapping_add(name.len()))?;
            // SAFETY: Both are as long as they say.
            unsafe {
                put(record, between.as_ptr(), between.len());
                put(record, name.as_ptr(), name.len());
            }
            Some(rest)
        });
        let Some(rest) = rest else {
            break;
        };
        left = rest;
    }
    // SAFETY: One byte.
    unsafe { put(record, ptr::from_ref(&0u8), 1) };
}

static_assert!(cfg!(target_endian = "little") && size_of::<c_ulong>() == size_of::<u64>());

/// # Safety
///
/// `owner` is null or the module that calls, `entries` has room for `max` addresses.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_stack_save(
    owner: *const bindings::module,
    entries: *mut c_ulong,
    max: u32,
) -> u32 {
    if max == 0 {
        return 0;
    }
    // SAFETY: By the contract above.
    let entries = unsafe { slice::from_raw_parts_mut(entries, max as usize) };
    // This function is the probe's business, too.
    let taken = symbol::save_stack(entries, 1);
    let own = entries
        .iter()
        .take(taken)
        // SAFETY: By the contract above; this module is not being freed while its code runs.
        .take_while(|&&address| unsafe {
            symbol::within_module(address, owner) || symbol::within_module(address, this_module())
        })
        .count();
    entries.copy_within(own..taken, 0);
    taken.wrapping_sub(own) as u32
}

/// # Safety
///
/// As the C header says.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_hook_attach(
    spec: *const bindings::vesper_hook_spec,
    data: *mut c_void,
) -> *mut bindings::vesper_hook {
    // SAFETY: By the contract above.
    let attached = unsafe { spec.as_ref() }
        .ok_or(EINVAL)
        // SAFETY: By the contract above, which is that of `attach`.
        .and_then(|spec| unsafe { hook::Spec::new(spec).attach(None, data) })
        .and_then(|hook| Ok(KBox::new(hook, GFP_KERNEL)?));
    match attached {
        Ok(hook) => KBox::into_raw(hook).cast(),
        Err(e) => err_ptr(e),
    }
}

/// # Safety
///
/// As the C header says.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_tracepoint_attach(
    name: *const c_char,
    handler: *mut c_void,
    data: *mut c_void,
) -> *mut bindings::vesper_hook {
    let spec = bindings::vesper_hook_spec {
        kind: bindings::VESPER_HOOK_TRACEPOINT,
        flags: 0,
        names: name,
        handler,
        exit: ptr::null_mut(),
    };
    // SAFETY: By the contract above; a hook at a tracepoint keeps nothing of its description.
    unsafe { vesper_hook_attach(&spec, data) }
}

/// # Safety
///
/// `hook` came from [`vesper_hook_attach`] and was not detached.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_hook_detach(hook: *mut bindings::vesper_hook) {
    // SAFETY: By the contract above it is a `Hook` that `vesper_hook_attach` boxed.
    drop(unsafe { KBox::from_raw(hook.cast::<Hook>()) });
}

/// # Safety
///
/// As the C header says.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_points_attach(
    owner: *const bindings::module,
    points: *const bindings::vesper_point,
    nr_points: u32,
    chosen: *const c_char,
    data: *mut c_void,
) -> *mut bindings::vesper_points {
    if owner.is_null() || points.is_null() || nr_points == 0 {
        return err_ptr(EINVAL);
    }
    // SAFETY: By the contract above, which is that of `attach`.
    let attached = unsafe {
        let points = slice::from_raw_parts(points, nr_points as usize);
        let chosen = match NonNull::new(chosen.cast_mut()) {
            Some(chosen) => CStr::from_char_ptr(chosen.as_ptr()).to_bytes(),
            None => &[],
        };
        Points::attach(Module::name_of(owner), points, chosen, data)
    }
    .and_then(|points| Ok(KBox::new(points, GFP_KERNEL)?));
    match attached {
        Ok(points) => KBox::into_raw(points).cast(),
        Err(e) => err_ptr(e),
    }
}

/// # Safety
///
/// `points` came from [`vesper_points_attach`] and was not detached.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_points_detach(points: *mut bindings::vesper_points) {
    // SAFETY: By the contract above it is a `Points` that `vesper_points_attach` boxed.
    drop(unsafe { KBox::from_raw(points.cast::<Points>()) });
}

/// # Safety
///
/// There is room for `len` bytes at `to`.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_read(
    to: *mut c_void,
    from: *const c_void,
    len: u32,
) -> bool {
    if len == 0 {
        return true;
    }
    // SAFETY: By the contract above; the bytes are written before they are read.
    let to = unsafe {
        ptr::write_bytes(to.cast::<u8>(), 0, len as usize);
        slice::from_raw_parts_mut(to.cast::<u8>(), len as usize)
    };
    let read = memory::read(to, from.addr());
    if read.is_err() {
        to.fill(0);
    }
    read.is_ok()
}

/// # Safety
///
/// There is room for `size` bytes at `to`, at least one.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_read_string(
    to: *mut c_char,
    from: *const c_char,
    size: u32,
) -> c_int {
    if size == 0 {
        return EINVAL.to_errno();
    }
    // SAFETY: By the contract above; the bytes are written before they are read.
    let to = unsafe {
        ptr::write_bytes(to, 0, size as usize);
        slice::from_raw_parts_mut(to.cast::<u8>(), size as usize)
    };
    let room = to.len().wrapping_sub(1);
    let read = memory::read_string(&mut to[..room], from.addr());
    match read {
        Ok(len) => len as c_int,
        Err(e) => {
            to[0] = 0;
            e.to_errno()
        }
    }
}

/// # Safety
///
/// `channel` is open.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_test_consume(
    channel: *mut bindings::vesper_channel,
    cpu: u32,
    count: u32,
) -> c_int {
    // SAFETY: By the contract above.
    let channel = unsafe { handle(channel) }.channel();
    match channel.store().get(cpu) {
        Some(buffer) => {
            let consumed = buffer.index.consumed().wrapping_add(u64::from(count));
            buffer.index.set_consumed(consumed);
            0
        }
        None => ENOENT.to_errno(),
    }
}
