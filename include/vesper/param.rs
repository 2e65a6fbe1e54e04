// SPDX-License-Identifier: GPL-2.0

//! Module parameters that are strings, which the kernel crate has none of.
//!
//! Used beside `module!`, whose own `params` are integers and booleans.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::cell::UnsafeCell;
use kernel::bindings;

/// A string parameter of at most `N - 1` bytes. Made by [`string_param!`].
#[repr(transparent)]
pub(crate) struct StringParam<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: Written by the module loader before the module's code runs, and never after, for the
// parameter is not in sysfs.
unsafe impl<const N: usize> Sync for StringParam<N> {}

impl<const N: usize> StringParam<N> {
    #[doc(hidden)]
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }

    #[doc(hidden)]
    pub(crate) const fn as_ptr(&self) -> *mut u8 {
        self.0.get().cast()
    }

    /// What was given at load, empty if nothing was.
    pub(crate) fn value(&self) -> &[u8] {
        // SAFETY: Not written any more.
        let bytes = unsafe { &*self.0.get() };
        let len = bytes.iter().position(|&b| b == 0).unwrap_or(0);
        bytes.get(..len).unwrap_or(&[])
    }
}

/// Newtype to make `kparam_string` [`Sync`].
#[doc(hidden)]
#[repr(transparent)]
pub(crate) struct KparamString(pub(crate) bindings::kparam_string);

// SAFETY: Used by the module loader only.
unsafe impl Sync for KparamString {}

#[doc(hidden)]
pub(crate) const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N && i < text.len() {
        bytes[i] = text.as_bytes()[i];
        i += 1;
    }
    bytes
}

/// Makes a string parameter: `string_param!(comm: 16, "name of the target task");`.
macro_rules! string_param {
    ($name:ident: $len:literal, $description:literal) => {
        #[allow(non_upper_case_globals)]
        pub(crate) static $name: $crate::vesper::param::StringParam<$len> =
            $crate::vesper::param::StringParam::new();

        const _: () = {
            use $crate::vesper::param;

            const PARM: &str = concat!("parm=", stringify!($name), ":", $description, "\0");
            const TYPE: &str = concat!("parmtype=", stringify!($name), ":string\0");

            #[link_section = ".modinfo"]
            #[used(compiler)]
            static PARM_INFO: [u8; PARM.len()] = param::bytes(PARM);
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static TYPE_INFO: [u8; TYPE.len()] = param::bytes(TYPE);

            static STRING: param::KparamString =
                param::KparamString(::kernel::bindings::kparam_string {
                    maxlen: $len,
                    string: $name.as_ptr().cast(),
                });

            #[link_section = "__param"]
            #[used(compiler)]
            static PARAM: ::kernel::module_param::KernelParam =
                ::kernel::module_param::KernelParam::new(::kernel::bindings::kernel_param {
                    name: concat!(stringify!($name), "\0").as_ptr().cast(),
                    mod_: ::core::ptr::addr_of_mut!(::kernel::bindings::__this_module),
                    ops: ::core::ptr::addr_of!(::kernel::bindings::param_ops_string),
                    perm: 0,
                    level: -1,
                    flags: 0,
                    __bindgen_anon_1: ::kernel::bindings::kernel_param__bindgen_ty_1 {
                        str_: ::core::ptr::addr_of!(STRING).cast(),
                    },
                });
        };
    };
}
