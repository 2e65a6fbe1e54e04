// SPDX-License-Identifier: GPL-2.0

//! VESPER probe: any function or tracepoint of the kernel, named at load.

use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::Arc, //
};

#[path = "../../include/vesper/probe.rs"]
#[macro_use]
mod vesper;
mod args;
#[path = "../clock.rs"]
mod clock;
mod kept;
mod place;
mod record;
#[path = "../slot.rs"]
mod slot;

use args::Arg;
use place::Place;
use record::Records;
use vesper::bindings;

module! {
    type: Any,
    name: "any",
    authors: ["The VESPER developers"],
    description: "VESPER probe: any function or tracepoint of the kernel, named at load",
    license: "GPL",
}

params! {
    at: str[512] = "", "functions, by commas; t:NAME is a tracepoint, [t:]MODULE:NAME a module's";
    args: str[512] = "", "what to record of a call, by commas: [NAME=]FETCH[:TYPE]";
    returns: bool = false, "record the return of functions, too, with value and duration";
    min_us: u64 = 0, "only calls that took so many microseconds, as they return";
    stack: u32 = 0, "entries of the call stack, at most 64: at entry, with min_us at return";
    urgent: bool = false, "tell the host of each record at once";
    subbuf_size: u32 = 0, "bytes in a sub-buffer, a multiple of 4096 (0: 8192)";
    n_subbufs: u32 = 0, "sub-buffers for each CPU (0: 8)";
}

filters!(pid, comm);

// The fields of a record depend on the parameters, so they are described here for the listing.
modinfo!("vesper_point=at:ON:the functions and tracepoints that at= names");
modinfo!("vesper_event=entry:a function is called, a tracepoint reached");
modinfo!("vesper_field=entry.pid:S32:who runs: the thread");
modinfo!("vesper_field=entry.tgid:S32:its process");
modinfo!("vesper_field=entry.comm:STRING:its name");
modinfo!("vesper_field=entry.at:STRING:where, as at= names it");
modinfo!("vesper_field=entry.caller:SYMBOL:who calls the function");
modinfo!("vesper_field=entry.arg1:X64:what args= asks for, each by its name and type");
modinfo!("vesper_field=entry.stack:STACK:the call stack, if stack= is not 0");
modinfo!("vesper_event=return:a function returns");
modinfo!("vesper_field=return.pid:S32:who runs: the thread");
modinfo!("vesper_field=return.tgid:S32:its process");
modinfo!("vesper_field=return.comm:STRING:its name");
modinfo!("vesper_field=return.at:STRING:where, as at= names it");
modinfo!("vesper_field=return.caller:SYMBOL:where it returns to");
modinfo!("vesper_field=return.ret:S64:what it returns");
modinfo!("vesper_field=return.ns:U64:how long it took, in nanoseconds");
modinfo!("vesper_field=return.arg1:X64:with min_us: what args= asks for, as it was at entry");
modinfo!("vesper_field=return.stack:STACK:with min_us: the call stack, if stack= is not 0");

/// Most places at a time.
const MAX_PLACES: usize = 16;

/// A place that is attached. Dropping it takes the handlers off, waits until they run nowhere, and
/// then lets the place go.
struct Attached {
    raw: NonNull<bindings::vesper_points>,
    _place: KBox<Place>,
}

// SAFETY: What is attached is only ever taken off, which may happen anywhere in process context.
unsafe impl Send for Attached {}

// SAFETY: As for `Send`.
unsafe impl Sync for Attached {}

impl Attached {
    fn new(place: KBox<Place>) -> Result<Self> {
        let point = place.point();
        // SAFETY: The point is as it must be, and is there as long as the place, as is the data of
        // its handlers; both outlive the attachment.
        let raw = from_err_ptr(unsafe {
            bindings::vesper_points_attach(
                vesper::this_module(),
                &point,
                1,
                c"all".as_char_ptr(),
                core::ptr::from_ref(&*place).cast_mut().cast(),
            )
        })?;
        Ok(Self {
            raw: NonNull::new(raw).ok_or(EINVAL)?,
            _place: place,
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: Attached until here.
        unsafe { bindings::vesper_points_detach(self.raw.as_ptr()) };
    }
}

struct Any {
    _attached: KVec<Attached>,
}

/// What `args=` asks for.
fn wanted_args() -> Result<KVec<Arg<'static>>> {
    let text = args().to_bytes();
    let mut all = KVec::new();
    for arg in text.split(|&c| c == b',').filter(|_| !text.is_empty()) {
        let parsed = Arg::parse(arg).map_err(|why| {
            vesper::remark(fmt!("args: '{}': {why}", BStr::from_bytes(arg)));
            EINVAL
        })?;
        if all.len() >= record::MAX_ARGS {
            vesper::remark(fmt!("args: at most {} of them", record::MAX_ARGS));
            return Err(EINVAL);
        }
        all.push(parsed, GFP_KERNEL)?;
    }
    Ok(all)
}

impl kernel::Module for Any {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let places = at().to_bytes();
        if places.is_empty() || places.split(|&c| c == b',').count() > MAX_PLACES {
            vesper::remark(fmt!(
                "at= says where: 1 to {MAX_PLACES} functions, or tracepoints as t:NAME"
            ));
            return Err(EINVAL);
        }
        let args = wanted_args()?;
        for name in places.split(|&c| c == b',') {
            place::check(name, &args).map_err(|why| {
                vesper::remark(fmt!("at: '{}': {why}", BStr::from_bytes(name)));
                EINVAL
            })?;
        }
        let records = Arc::new(Records::open(args)?, GFP_KERNEL)?;
        let mut attached = KVec::new();
        for name in places.split(|&c| c == b',') {
            let name = CString::try_from_fmt(fmt!("{}", BStr::from_bytes(name)))?;
            let place = KBox::new(Place::new(name, records.clone())?, GFP_KERNEL)?;
            match Attached::new(place) {
                Ok(place) => attached.push(place, GFP_KERNEL)?,
                // The operator is told of it already.
                Err(ENOENT) => (),
                Err(e) => return Err(e),
            }
        }
        if attached.is_empty() {
            return Err(ENOENT);
        }
        Ok(Self {
            _attached: attached,
        })
    }
}
