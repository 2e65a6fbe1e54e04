// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate has since Linux 7.3, for Linux 7.2, too: there it is made up here. Each
//! module uses a part of it. Where 7.2 need not be supported any more, this file goes, and who uses
//! it takes the same from the kernel crate.

#![allow(dead_code, unused_imports)]

use core::ptr;
use kernel::bindings;

pub(crate) use imp::*;

/// This module, for C.
pub(crate) const fn this_module() -> *mut bindings::module {
    // SAFETY: The address of the module's own description, which nobody reads here.
    #[allow(unused_unsafe)] // Later compilers know.
    unsafe {
        ptr::addr_of_mut!(bindings::__this_module)
    }
}

/// A parameter of the module.
pub(crate) trait Param<T: Copy> {
    /// Its value.
    fn get(&self) -> T;
}

#[cfg(not(vesper_linux_7_2))]
mod imp {
    use kernel::bindings;
    pub(crate) use kernel::{
        bindings::VM_MAYSHARE,
        error::code::{
            EBADMSG,
            ECANCELED,
            EKEYREJECTED,
            ENODATA,
            ENOKEY,
            ENOPKG,
            ENOTCONN,
            EOPNOTSUPP,
            EPROTO,
            EPROTONOSUPPORT,
            ESTALE, //
        },
        sync::{
            barrier::{
                smp_mb,
                Full,
                Read,
                Write, //
            },
            rcu::synchronize_rcu, //
        },
    };

    /// A timer that is not to go on by itself.
    pub(crate) const HRTIMER_NORESTART: bindings::hrtimer_restart =
        bindings::hrtimer_restart::HRTIMER_NORESTART;

    impl<T: Copy> super::Param<T> for kernel::module_param::ModuleParamAccess<T> {
        fn get(&self) -> T {
            self.value()
        }
    }
}

#[cfg(vesper_linux_7_2)]
mod imp {
    use core::mem;
    use kernel::{
        bindings,
        error::{
            code::EPERM,
            Error, //
        },
        ffi::c_int,
        sync::barrier,
    };

    pub(crate) use bindings::hrtimer_restart_HRTIMER_NORESTART as HRTIMER_NORESTART;

    /// An area that is or was to be shared. The binding of this version has the value of
    /// `VM_MAYEXEC`, by a mistake in `rust/bindings/bindings_helper.h`.
    pub(crate) const VM_MAYSHARE: bindings::vm_flags_t = 1 << bindings::VMA_MAYSHARE_BIT;

    /// The crate has a constructor for such constants, but not for others.
    const fn error(errno: u32) -> Error {
        // SAFETY: In this version an `Error` is nothing but the number, which is negative; with
        // other contents the line below would not be compiled.
        unsafe { mem::transmute::<c_int, Error>(-(errno as c_int)) }
    }
    const _: () = assert!(matches!(error(bindings::EPERM), EPERM));

    macro_rules! errors {
        ($($name:ident),* $(,)?) => {
            $(pub(crate) const $name: Error = error(bindings::$name);)*
        };
    }

    errors! {
        EBADMSG, ECANCELED, EKEYREJECTED, ENODATA, ENOKEY, ENOPKG, ENOTCONN, EOPNOTSUPP, EPROTO,
        EPROTONOSUPPORT, ESTALE,
    }

    /// Loads before, and loads behind.
    pub(crate) struct Read;
    /// Stores before, and stores behind.
    pub(crate) struct Write;
    /// All of both.
    pub(crate) struct Full;

    /// What a barrier is for.
    pub(crate) trait Barrier {
        /// Is it.
        fn run();
    }

    impl Barrier for Read {
        #[inline(always)]
        fn run() {
            barrier::smp_rmb();
        }
    }

    impl Barrier for Write {
        #[inline(always)]
        fn run() {
            barrier::smp_wmb();
        }
    }

    impl Barrier for Full {
        #[inline(always)]
        fn run() {
            barrier::smp_mb();
        }
    }

    /// A memory barrier between CPUs.
    #[inline(always)]
    pub(crate) fn smp_mb<T: Barrier>(_: T) {
        T::run();
    }

    /// Waits until all who read under RCU now have ended. Process context.
    pub(crate) fn synchronize_rcu() {
        // SAFETY: No requirements but the context.
        unsafe { bindings::synchronize_rcu() };
    }

    impl<T: Copy> super::Param<T> for kernel::module_param::ModuleParamAccess<T> {
        fn get(&self) -> T {
            *self.value()
        }
    }
}
