// SPDX-License-Identifier: GPL-2.0

//! CPUs that come up.
//!
//! C header: [`include/linux/cpuhotplug.h`](srctree/include/linux/cpuhotplug.h)

use crate::{
    bindings,
    sys::cpu::HotplugLock, //
};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*, //
};

/// What a [`Registration`] calls.
pub(crate) trait Prepare {
    /// `cpu` is about to come up, and relay has made its buffers. Process context; may sleep.
    fn prepare(lock: &HotplugLock, cpu: u32);
}

/// A hotplug state. Dropping it ends the calls.
pub(crate) struct Registration<T: Prepare> {
    state: bindings::cpuhp_state,
    _calls: PhantomData<fn(T)>,
}

impl<T: Prepare> Registration<T> {
    /// Has [`Prepare::prepare`] called for each CPU that comes up from now on. Process context.
    pub(crate) fn new(name: &'static CStr) -> Result<Self> {
        // The dynamic states of this section come after relay's own.
        let dynamic = bindings::cpuhp_state_CPUHP_BP_PREPARE_DYN;
        // SAFETY: Name and callback are static; `drop` removes the state.
        let state = unsafe {
            bindings::__cpuhp_setup_state(
                dynamic,
                name.as_char_ptr(),
                false,
                Some(Self::startup),
                None,
                false,
            )
        };
        to_result(state)?;
        Ok(Self {
            state,
            _calls: PhantomData,
        })
    }

    /// # Safety
    ///
    /// Called by the hotplug code, which holds its lock for writing.
    unsafe extern "C" fn startup(cpu: c_uint) -> c_int {
        // SAFETY: By the contract above.
        T::prepare(&unsafe { HotplugLock::assume() }, cpu);
        0
    }
}

impl<T: Prepare> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: `state` is the one that `new` was given.
        unsafe { bindings::__cpuhp_remove_state(self.state, false) };
    }
}
