// SPDX-License-Identifier: GPL-2.0

//! A place that the operator named, and what is done when the kernel gets there.

use crate::{
    args::{
        self,
        Arg,
        At,
        Base,
        REGISTERS, //
    },
    clock::now,
    kept::Ticket,
    min_us,
    record::{
        Call,
        Records, //
    },
    returns,
    vesper::{
        bindings,
        Regs, //
    },
};
use core::ptr;
use kernel::{
    bindings::pt_regs,
    ffi::c_void,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// A function or a tracepoint.
pub(crate) struct Place {
    /// As the operator named it.
    name: CString,
    hooks: [bindings::vesper_hook_spec; 2],
    nr_hooks: u32,
    records: Arc<Records>,
}

impl Place {
    pub(crate) fn new(name: CString, records: Arc<Records>) -> Result<Self> {
        let hook = |kind, flags, handler, exit| bindings::vesper_hook_spec {
            kind,
            flags,
            names: ptr::null(),
            handler,
            exit,
        };
        let timed = timed();
        let reaches = reached as *mut c_void;
        let enters = entered as *mut c_void;
        let leaves = if timed {
            left as *mut c_void
        } else {
            ptr::null_mut()
        };
        let tracepoint = name.to_bytes().strip_prefix(b"t:");
        let fprobe = hook(bindings::VESPER_HOOK_FPROBE, 0, enters, leaves);
        let kprobe = |flags| hook(bindings::VESPER_HOOK_KPROBE, flags, enters, ptr::null_mut());
        let (mut hooks, nr_hooks) = if tracepoint.is_some() {
            let hook = hook(
                bindings::VESPER_HOOK_TRACEPOINT,
                0,
                reaches,
                ptr::null_mut(),
            );
            ([hook, kprobe(0)], 1)
        } else if timed {
            ([fprobe, kprobe(0)], 1)
        } else if records.args().iter().all(|arg| args::at_fprobe(arg.base)) {
            ([fprobe, kprobe(bindings::VESPER_HOOK_ELSE)], 2)
        } else {
            ([kprobe(0), kprobe(0)], 1)
        };
        // What is behind `t:` ends where the whole does.
        let at = name.to_bytes().len() - tracepoint.map_or(name.to_bytes().len(), <[u8]>::len);
        let names = name.as_char_ptr().wrapping_add(at);
        for hook in &mut hooks {
            hook.names = names;
        }
        Ok(Self {
            name,
            hooks,
            nr_hooks,
            records,
        })
    }

    /// The point, valid as long as `self` stays where it is.
    pub(crate) fn point(&self) -> bindings::vesper_point {
        bindings::vesper_point {
            name: self.name.as_char_ptr(),
            hooks: self.hooks.as_ptr(),
            nr_hooks: self.nr_hooks,
            flags: 0,
        }
    }

    fn name(&self) -> &[u8] {
        self.name.to_bytes()
    }
}

/// Whether the return of functions matters.
fn timed() -> bool {
    returns() || min_us() != 0
}

/// Whether all that is to be recorded can be had at the place that `name` names. Fails with a
/// sentence.
pub(crate) fn check(name: &[u8], args: &[Arg<'_>]) -> Result<(), &'static str> {
    let at = match (name.starts_with(b"t:"), timed()) {
        (true, true) => {
            return Err("a tracepoint knows of no return: not with returns= or min_us=")
        }
        (true, false) => At::Tracepoint,
        (false, true) => At::Call,
        (false, false) => At::Function,
    };
    args.iter().try_for_each(|arg| at.has(arg.base))
}

/// # Safety
///
/// Called by a hook of a [`Place`], with that and a call.
unsafe extern "C" fn entered(data: *mut c_void, regs: *mut bindings::vesper_regs) {
    // SAFETY: The place is there as long as the hook, the call as long as this one.
    let (place, regs) = unsafe { (&*data.cast::<Place>(), Regs::from_raw(regs)) };
    let now = now();
    if min_us() == 0 {
        let call = Call {
            at: place.name(),
            caller: regs.caller(),
        };
        place.records.entry(&call, |arg| of_function(arg, regs));
        regs.state()[0] = now;
    } else {
        let ticket = place.records.keep(now, |arg| of_function(arg, regs));
        let [at, owner] = ticket.map_or(Ticket::NONE, Ticket::words);
        *regs.state() = [now, at, owner, 0];
    }
}

/// # Safety
///
/// As for [`entered`].
unsafe extern "C" fn left(data: *mut c_void, regs: *mut bindings::vesper_regs) {
    // SAFETY: As in `entered`.
    let (place, regs) = unsafe { (&*data.cast::<Place>(), Regs::from_raw(regs)) };
    let [begun, at, owner, _] = *regs.state();
    let ticket = Ticket::from_words([at, owner]);
    let ns = now().saturating_sub(begun);
    if ns / 1000 >= min_us() {
        let call = Call {
            at: place.name(),
            caller: regs.caller(),
        };
        place.records.left(&call, regs.ret(), ns, ticket);
    } else if let Some(ticket) = ticket {
        place.records.forget(ticket);
    }
}

/// A tracepoint's arguments are integers and pointers, so that they are where a function has them.
/// What is behind the last has no meaning, but can be read.
///
/// # Safety
///
/// Called by a tracepoint, with a [`Place`] whose hook is at it.
unsafe extern "C" fn reached(
    data: *mut c_void,
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
) {
    // SAFETY: The place is there as long as the hook.
    let place = unsafe { &*data.cast::<Place>() };
    let arguments = [first, second, third, fourth, fifth];
    let call = Call {
        at: place.name(),
        caller: 0,
    };
    place.records.entry(&call, |arg| match arg.base {
        Base::Argument(n) => arguments.get(n).copied().unwrap_or(0),
        Base::Register(_) | Base::Stack(_) => 0,
    });
}

/// Where a value begins, at a function.
fn of_function(arg: &Arg<'_>, regs: &Regs) -> usize {
    match arg.base {
        Base::Argument(n) => regs.arg(n),
        Base::Register(n) => register(REGISTERS.get(n).copied().unwrap_or(""), regs.pt_regs()),
        Base::Stack(n) => {
            let mut word = [0; size_of::<usize>()];
            let at = regs.pt_regs().sp.wrapping_add(n.wrapping_mul(word.len()));
            crate::vesper::read(&mut word, at);
            usize::from_ne_bytes(word)
        }
    }
}

fn register(name: &str, regs: &pt_regs) -> usize {
    match name {
        "ax" => regs.ax,
        "bx" => regs.bx,
        "cx" => regs.cx,
        "dx" => regs.dx,
        "si" => regs.si,
        "di" => regs.di,
        "bp" => regs.bp,
        "sp" => regs.sp,
        "r8" => regs.r8,
        "r9" => regs.r9,
        "r10" => regs.r10,
        "r11" => regs.r11,
        "r12" => regs.r12,
        "r13" => regs.r13,
        "r14" => regs.r14,
        "r15" => regs.r15,
        "ip" => regs.ip,
        "flags" => regs.flags,
        _ => 0,
    }
}
