// SPDX-License-Identifier: GPL-2.0

//! Communication layer: this kernel's own messages, which a module brings that carries them between
//! the guest driver and us, as [`crate::attach`] has those that a VMM brings.
//!
//! C header: `host/carrier.h`. The `unsafe` here is that of a C interface: pointers of the caller.

use crate::{
    attach, bindings,
    domain::{
        Domain,
        Taken, //
    },
    host::Host,
    message::REPLY_LEN,
    sys::{
        callback::Callback,
        pages::{
            Borrowed,
            Held, //
        },
        trace, //
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
        c_int,
        c_void, //
    },
    prelude::*,
    sync::{
        global_lock,
        Arc, //
    },
};

global_lock! {
    // SAFETY: Initialised by `publish`, which module init calls before anything can fail behind
    // which `withdraw` is called, and before another module can call what is exported.
    unsafe(uninit) static HOST: Mutex<Option<Arc<Host>>> = None;
}

/// Lets carriers attach to `host`. Once in the life of the module.
pub(crate) fn publish(host: Arc<Host>) {
    // SAFETY: Called once.
    unsafe { HOST.init() };
    *HOST.lock() = Some(host);
}

/// Ends what [`publish`] began.
pub(crate) fn withdraw() {
    let host = HOST.lock().take();
    drop(host);
}

/// What a `struct vesper_carrier` is.
type Carrier = Arc<Domain>;

/// Makes sure that a function is what its C declaration says.
macro_rules! declared {
    ($($name:ident),* $(,)?) => {
        $(const _: () = { let _ = if true { bindings::$name } else { $name }; };)*
    };
}

declared!(
    vesper_carrier_attach,
    vesper_carrier_broken,
    vesper_carrier_buffers,
    vesper_carrier_detach,
    vesper_carrier_lend,
    vesper_carrier_message,
    vesper_carrier_read,
    vesper_carrier_reset,
);

fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(err) => err.to_errno(),
    }
}

/// # Safety
///
/// `carrier` came from [`vesper_carrier_attach`], and is not detached for all of `'a`.
unsafe fn domain<'a>(carrier: *mut bindings::vesper_carrier) -> &'a Carrier {
    // SAFETY: By the requirement of this function.
    unsafe { &*carrier.cast::<Carrier>() }
}

/// # Safety
///
/// `len` bytes can be read at `request`, and nobody writes there, for all of `'a`.
unsafe fn bytes<'a>(request: *const c_void, len: usize) -> Result<&'a [u8]> {
    match len <= attach::MAX_MESSAGE {
        // SAFETY: By the requirement of this function.
        true => Ok(unsafe { slice::from_raw_parts(request.cast(), len) }),
        false => Err(EMSGSIZE),
    }
}

fn attach_self(attach: &mut bindings::vesper_attach, wake: Callback) -> Result<KBox<Carrier>> {
    let host = HOST.lock().clone().ok_or(ENODEV)?;
    // First, so that nothing is left if there is no memory for it.
    let room = KBox::<Carrier>::new_uninit(GFP_KERNEL)?;
    let domain = host.attach_self()?;
    attach.abi_version = bindings::VESPER_ABI_VERSION;
    attach::facts(&host, attach);
    attach.name = *domain.name();
    trace::attach(domain.name(), 0);
    domain.desk().set_carrier(Some(wake));
    domain.note(|info| info.run_state = bindings::VESPER_RUN_RUNNING);
    Ok(KBox::write(room, domain))
}

/// # Safety
///
/// As `carrier.h` says: `attach` can be written to; `wake` can be called with `data` until the
/// carrier is detached.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_attach(
    attach: *mut bindings::vesper_attach,
    wake: Option<unsafe extern "C" fn(data: *mut c_void)>,
    data: *mut c_void,
) -> *mut bindings::vesper_carrier {
    let error = |err: Error| ptr::without_provenance_mut(err.to_errno() as usize);
    let (Some(wake), Some(data)) = (wake, NonNull::new(data)) else {
        return error(EINVAL);
    };
    // SAFETY: The caller's promise; `vesper_carrier_detach` takes it out of the desk and drops it.
    let wake = unsafe { Callback::new(wake, data) };
    // SAFETY: The caller's promise.
    match attach_self(unsafe { &mut *attach }, wake) {
        Ok(carrier) => KBox::into_raw(carrier).cast(),
        Err(err) => error(err),
    }
}

/// # Safety
///
/// `carrier` came from [`vesper_carrier_attach`] and is not used any more.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_detach(carrier: *mut bindings::vesper_carrier) {
    // SAFETY: By the requirement of this function.
    let domain = unsafe { KBox::from_raw(carrier.cast::<Carrier>()) };
    domain.desk().set_carrier(None);
    domain.vmm_gone();
}

/// # Safety
///
/// As `carrier.h` says: `carrier` is attached, `len` bytes can be read at `request`, and for the
/// control queue `reply` can be written to.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_message(
    carrier: *mut bindings::vesper_carrier,
    queue: u32,
    request: *const c_void,
    len: usize,
    reply: *mut bindings::virtio_vesper_reply,
) -> c_int {
    // SAFETY: The caller's promise.
    let (domain, bytes) = unsafe { (domain(carrier), bytes(request, len)) };
    let taken = bytes.and_then(|bytes| domain.message(queue, bytes));
    errno(taken.map(|taken| {
        if let Taken::Reply(answer) = taken {
            // SAFETY: The caller's promise: only the control queue has replies.
            unsafe { ptr::copy_nonoverlapping(answer.as_ptr(), reply.cast(), REPLY_LEN) };
        }
    }))
}

/// # Safety
///
/// As `carrier.h` says: `carrier` is attached, `len` bytes can be read at `request`, and there are
/// `nr_pages` pages at `pages`, to which references may be taken.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_lend(
    carrier: *mut bindings::vesper_carrier,
    cookie: u64,
    request: *const c_void,
    len: usize,
    pages: *mut *mut bindings::page,
    nr_pages: usize,
) -> c_int {
    // SAFETY: The caller's promise.
    let (domain, bytes) = unsafe { (domain(carrier), bytes(request, len)) };
    errno(bytes.and_then(|bytes| {
        domain.lend(cookie, bytes, nr_pages, |_| {
            // SAFETY: The caller's promise, on both.
            let held = unsafe { Held::new(slice::from_raw_parts(pages, nr_pages)) };
            Ok(Borrowed::Held(held?))
        })
    }))
}

/// # Safety
///
/// `carrier` is attached.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_buffers(
    carrier: *mut bindings::vesper_carrier,
    count: u32,
    size: u32,
) -> c_int {
    // SAFETY: The caller's promise.
    let domain = unsafe { domain(carrier) };
    let result = domain.desk().lock().loader.post(count, size);
    domain.desk().notify_vmm();
    errno(result)
}

/// # Safety
///
/// `carrier` is attached, and `room` bytes can be written at `to`, where nobody else looks.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_read(
    carrier: *mut bindings::vesper_carrier,
    to: *mut c_void,
    room: usize,
) -> isize {
    // SAFETY: The caller's promise.
    let (domain, mut to) = unsafe {
        (
            domain(carrier),
            slice::from_raw_parts_mut(to.cast::<u8>(), room),
        )
    };
    match domain.desk().read(&mut to, false) {
        Ok(len) => len as isize,
        Err(err) => err.to_errno() as isize,
    }
}

/// # Safety
///
/// `carrier` is attached.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_reset(carrier: *mut bindings::vesper_carrier) {
    // SAFETY: The caller's promise.
    unsafe { domain(carrier) }.reset();
}

/// # Safety
///
/// `carrier` is attached.
#[no_mangle]
unsafe extern "C" fn vesper_carrier_broken(carrier: *mut bindings::vesper_carrier) {
    // SAFETY: The caller's promise.
    unsafe { domain(carrier) }.broken("says its carrier");
}
