// SPDX-License-Identifier: GPL-2.0

//! Module parameters: as those of `module!`, with strings, and with defaults that an image tells.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use core::cell::UnsafeCell;
use kernel::{
    bindings,
    ffi::c_void,
    str::CStr, //
};

/// A string parameter of at most `N - 1` bytes. Made by [`params!`].
#[doc(hidden)]
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
    #[doc(hidden)]
    pub(crate) fn value(&self) -> &CStr {
        // SAFETY: Not written any more.
        let bytes = unsafe { &*self.0.get() };
        CStr::from_bytes_until_nul(bytes).unwrap_or(c"")
    }
}

/// Newtype to make `kparam_string` [`Sync`].
#[doc(hidden)]
#[repr(transparent)]
pub(crate) struct KparamString(pub(crate) bindings::kparam_string);

// SAFETY: Used by the module loader only.
unsafe impl Sync for KparamString {}

/// A parameter of another type. Made by [`params!`].
#[doc(hidden)]
#[repr(transparent)]
pub(crate) struct PlainParam<T>(UnsafeCell<T>);

// SAFETY: As with strings.
unsafe impl<T: Param> Sync for PlainParam<T> {}

impl<T: Param> PlainParam<T> {
    #[doc(hidden)]
    pub(crate) const fn new(default: T) -> Self {
        Self(UnsafeCell::new(default))
    }

    #[doc(hidden)]
    pub(crate) const fn as_ptr(&self) -> *mut c_void {
        self.0.get().cast()
    }

    /// What was given at load, or the default.
    #[doc(hidden)]
    #[inline]
    pub(crate) fn value(&self) -> T {
        // SAFETY: Not written any more.
        unsafe { *self.0.get() }
    }
}

/// A type that a parameter can have.
#[doc(hidden)]
pub(crate) trait Param: Copy {
    /// How the kernel reads one: into memory of this type.
    const OPS: *const bindings::kernel_param_ops;
}

#[doc(hidden)]
macro_rules! types {
    ($($type:ty: $ops:ident,)*) => {
        $(impl Param for $type {
            const OPS: *const bindings::kernel_param_ops = &raw const bindings::$ops;
        })*
    };
}

types! {
    bool: param_ops_bool,
    i32: param_ops_int,
    i64: param_ops_long,
    u32: param_ops_uint,
    u64: param_ops_ullong,
}

/// Makes module parameters: each is a function that gives its value. A string has room for one byte
/// less than is said, and is empty if none is given: its default here is what stands for that.
///
/// ```ignore
/// params! {
///     min_us: u64 = 1000, "only what takes so many microseconds";
///     path: str[64] = "", "only files below this directory (empty: all)";
/// }
/// ```
macro_rules! params {
    () => {};
    (
        $name:ident: str[$len:literal] = $default:literal, $description:literal;
        $($rest:tt)*
    ) => {
        #[doc = $description]
        pub(crate) fn $name() -> &'static ::kernel::str::CStr {
            use $crate::vesper::param;

            static VALUE: param::StringParam<$len> = param::StringParam::new();
            static STRING: param::KparamString =
                param::KparamString(::kernel::bindings::kparam_string {
                    maxlen: $len,
                    string: VALUE.as_ptr().cast(),
                });

            __vesper_param! {
                $name, "string", $default, $description,
                ::core::ptr::addr_of!(::kernel::bindings::param_ops_string),
                ::kernel::bindings::kernel_param__bindgen_ty_1 {
                    str_: ::core::ptr::addr_of!(STRING).cast(),
                }
            }
            VALUE.value()
        }
        params! { $($rest)* }
    };
    (
        $name:ident: $type:ident = $default:literal, $description:literal;
        $($rest:tt)*
    ) => {
        #[doc = $description]
        #[inline]
        pub(crate) fn $name() -> $type {
            use $crate::vesper::param;

            static VALUE: param::PlainParam<$type> = param::PlainParam::new($default);

            __vesper_param! {
                $name, stringify!($type), stringify!($default), $description,
                <$type as param::Param>::OPS,
                ::kernel::bindings::kernel_param__bindgen_ty_1 {
                    arg: VALUE.as_ptr(),
                }
            }
            VALUE.value()
        }
        params! { $($rest)* }
    };
}

/// Enters a parameter with the module loader, and describes it.
#[doc(hidden)]
macro_rules! __vesper_param {
    ($name:ident, $type:expr, $default:expr, $description:literal, $ops:expr, $arg:expr) => {
        const _: () = {
            #[link_section = "__param"]
            #[used(compiler)]
            static PARAM: ::kernel::module_param::KernelParam =
                ::kernel::module_param::KernelParam::new(::kernel::bindings::kernel_param {
                    name: concat!(stringify!($name), "\0").as_ptr().cast(),
                    mod_: ::core::ptr::addr_of_mut!(::kernel::bindings::__this_module),
                    ops: $ops,
                    perm: 0,
                    level: -1,
                    flags: 0,
                    __bindgen_anon_1: $arg,
                });
        };
        modinfo!("parm=", stringify!($name), ":", $description);
        modinfo!("parmtype=", stringify!($name), ":", $type);
        modinfo!("vesper_default=", stringify!($name), ":", $default);
    };
}
