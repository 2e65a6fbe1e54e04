// SPDX-License-Identifier: GPL-2.0

//! Points of probes: those that the operator chose are attached, and what can't be is told.

use super::{
    choice,
    hook::{
        Hook,
        Spec, //
    },
    remark::remark, //
};
use crate::bindings;
use core::slice;
use kernel::{
    ffi::c_void,
    prelude::*,
    str::BStr, //
};

/// The points of a probe that are attached.
pub(crate) struct Points {
    _hooks: KVec<Hook>,
}

/// A point as the probe describes it.
struct Point<'a> {
    name: &'a CStr,
    hooks: &'a [bindings::vesper_hook_spec],
    on: bool,
}

impl<'a> Point<'a> {
    /// # Safety
    ///
    /// `raw` is as `hook.h` wants it, for all of `'a`.
    unsafe fn new(raw: &'a bindings::vesper_point) -> Self {
        // SAFETY: By the contract above; an array without entries may have no address.
        let (name, hooks) = unsafe {
            (
                CStr::from_char_ptr(raw.name),
                match raw.nr_hooks {
                    0 => &[],
                    nr => slice::from_raw_parts(raw.hooks, nr as usize),
                },
            )
        };
        Self {
            name,
            hooks,
            on: raw.flags & bindings::VESPER_POINT_OFF == 0,
        }
    }

    /// Attaches all of its hooks, or says which is at fault.
    ///
    /// # Safety
    ///
    /// As for [`Points::attach`].
    unsafe fn attach(
        &self,
        owner: &CStr,
        data: *mut c_void,
    ) -> Result<KVec<Hook>, (Option<Spec<'a>>, Error)> {
        let mut attached = KVec::with_capacity(self.hooks.len(), GFP_KERNEL)
            .map_err(|e| (None, Error::from(e)))?;
        // That of the hook that the next may stand in for.
        let mut failed: Option<(Option<Spec<'a>>, Error)> = None;
        for raw in self.hooks {
            // SAFETY: By the contract of `new`.
            let spec = unsafe { Spec::new(raw) };
            match (spec.is_alternative(), &failed) {
                (false, Some(failed)) => return Err(*failed),
                // In the place of nothing.
                (true, None) if attached.is_empty() => return Err((Some(spec), EINVAL)),
                (true, None) => continue,
                _ => (),
            }
            // SAFETY: By the contract above.
            match unsafe { spec.attach(Some((owner, self.name)), data) } {
                Ok(hook) => {
                    failed = None;
                    attached
                        .push(hook, GFP_KERNEL)
                        .map_err(|e| (None, Error::from(e)))?;
                }
                // The first is the one to tell, unless it is not there and another is.
                Err(e) => match failed {
                    None => failed = Some((Some(spec), e)),
                    Some((_, ENOENT)) if e != ENOENT => failed = Some((Some(spec), e)),
                    Some(_) => (),
                },
            }
        }
        match failed {
            Some(failed) => Err(failed),
            None if attached.is_empty() => Err((None, EINVAL)),
            None => Ok(attached),
        }
    }
}

impl Points {
    /// Attaches those of `points` that are `chosen`, and remarks on those that can't be. Process
    /// context. Errors as of `vesper_points_attach()`.
    ///
    /// # Safety
    ///
    /// `points` is as `hook.h` wants it; its handlers fit what they are at, and may be called with
    /// `data` until the result is dropped.
    pub(crate) unsafe fn attach(
        owner: &CStr,
        points: &[bindings::vesper_point],
        chosen: &[u8],
        data: *mut c_void,
    ) -> Result<Self> {
        if points.len() > choice::MAX_POINTS {
            return Err(EINVAL);
        }
        // SAFETY: By the contract above.
        let point = |raw| unsafe { Point::new(raw) };
        let names = points.iter().map(|raw| {
            let point = point(raw);
            (point.name.to_bytes(), point.on)
        });
        let wanted = choice::read(chosen, names).map_err(|unknown| {
            unknown_point(owner, unknown, points.iter().map(|raw| point(raw).name));
            EINVAL
        })?;
        let mut hooks = KVec::new();
        let mut any = false;
        for (_, raw) in points
            .iter()
            .enumerate()
            .filter(|(at, _)| wanted & (1 << at) != 0)
        {
            let point = point(raw);
            // SAFETY: By the contract above.
            match unsafe { point.attach(owner, data) } {
                Ok(attached) => {
                    any = true;
                    for hook in &attached {
                        hook.say_if_waiting();
                    }
                    for hook in attached {
                        hooks.push(hook, GFP_KERNEL)?;
                    }
                }
                Err((spec, e)) => not_attached(owner, point.name, spec, e),
            }
        }
        if !any {
            return Err(ENOENT);
        }
        Ok(Self { _hooks: hooks })
    }
}

fn unknown_point<'a>(owner: &CStr, name: &[u8], known: impl Iterator<Item = &'a CStr>) {
    let mut list = KVec::<u8>::new();
    for name in known {
        let comma: &[u8] = if list.is_empty() { b"" } else { b", " };
        let added = list
            .extend_from_slice(comma, GFP_KERNEL)
            .and_then(|()| list.extend_from_slice(name.to_bytes(), GFP_KERNEL));
        if added.is_err() {
            break;
        }
    }
    remark(
        owner,
        fmt!(
            "it has no point '{}': there are {} (and 'default', 'all')",
            BStr::from_bytes(name),
            BStr::from_bytes(&list),
        ),
    );
}

fn not_attached(owner: &CStr, name: &CStr, spec: Option<Spec<'_>>, error: Error) {
    let Some(spec) = spec else {
        return remark(owner, fmt!("point '{name}' is not attached: {error:?}"));
    };
    let (what, names) = (spec.what(), spec.names());
    match error {
        ENOENT => remark(
            owner,
            fmt!("point '{name}' is not attached: this kernel has no {what} {names}"),
        ),
        EINVAL => remark(
            owner,
            fmt!("point '{name}' is not attached: this kernel keeps probes out of {what} {names}"),
        ),
        e => remark(
            owner,
            fmt!("point '{name}' is not attached: {what} {names}: {e:?}"),
        ),
    }
}
