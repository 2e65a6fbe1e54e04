// SPDX-License-Identifier: GPL-2.0

//! Kernel threads that end by themselves.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{
    bindings,
    later::this_module, //
};
use kernel::{
    error::from_err_ptr,
    ffi,
    prelude::*, //
};

/// Runs `f` in a kernel thread of its own, which keeps this module from being unloaded until the
/// thread has ended. Process context.
pub(crate) fn spawn<F: FnOnce() + Send + 'static>(name: &'static CStr, f: F) -> Result {
    let f = KBox::into_raw(KBox::new(f, GFP_KERNEL)?);
    // SAFETY: Of this module itself.
    if !unsafe { bindings::try_module_get(this_module()) } {
        // SAFETY: Made by `into_raw` above, and not passed on.
        drop(unsafe { KBox::from_raw(f) });
        return Err(ENODEV);
    }
    // SAFETY: `run::<F>` takes what `into_raw` made of a `KBox<F>`; the format takes one string.
    let task = from_err_ptr(unsafe {
        bindings::kthread_create_on_node(
            Some(run::<F>),
            f.cast(),
            bindings::NUMA_NO_NODE,
            c"%s".as_char_ptr(),
            name.as_char_ptr(),
        )
    });
    match task {
        Ok(task) => {
            // SAFETY: The task was just made and can't have ended, as it did not run yet.
            unsafe { bindings::wake_up_process(task) };
            Ok(())
        }
        Err(e) => {
            // SAFETY: There is no thread that the reference would be for.
            unsafe { bindings::module_put(this_module()) };
            // SAFETY: Made by `into_raw` above, and nobody else has it.
            drop(unsafe { KBox::from_raw(f) });
            Err(e)
        }
    }
}

/// # Safety
///
/// Called once as a thread function, with a reference to this module and with what
/// `KBox::into_raw` made of a `KBox<F>`.
unsafe extern "C" fn run<F: FnOnce()>(data: *mut ffi::c_void) -> ffi::c_int {
    // SAFETY: The caller's promise.
    let f = unsafe { KBox::from_raw(data.cast::<F>()) };
    KBox::into_inner(f)();
    // Nothing of ours is left on this stack.
    // SAFETY: The reference is the one that this thread was started with. This is a kernel thread.
    unsafe { bindings::__module_put_and_kthread_exit(this_module(), 0) }
}
