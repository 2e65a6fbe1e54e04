// SPDX-License-Identifier: GPL-2.0

//! Character devices that can be polled: miscdevice's abstraction has no poll.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use crate::{
    bindings,
    later::this_module, //
};
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    fs::File,
    prelude::*,
    str::CStr,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        poll::PollTable,
        Arc,
        ArcBorrow, //
    },
    types::Opaque,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceWriter, //
    },
};

/// `EPOLLIN`: there is something to fetch.
pub(crate) const EPOLLIN: u32 = 0x0001;
/// `EPOLLRDNORM`: always with the other.
pub(crate) const EPOLLRDNORM: u32 = 0x0040;
/// `EPOLLERR`.
pub(crate) const EPOLLERR: u32 = 0x0008;

/// An open file of a device.
pub(crate) trait Node: Send + Sync + Sized + 'static {
    /// What all files of the device share.
    type Context: Send + Sync + 'static;

    /// Opens a file.
    fn open(context: ArcBorrow<'_, Self::Context>) -> Result<Arc<Self>>;

    /// Serves an ioctl; several may run at once.
    fn ioctl(this: ArcBorrow<'_, Self>, cmd: u32, arg: usize) -> Result<isize>;

    /// Serves a read; `wait` unless the file is non-blocking.
    fn read(this: ArcBorrow<'_, Self>, out: &mut UserSliceWriter, wait: bool) -> Result<usize>;

    /// Registers with `table` and says what is ready, as `EPOLL` bits.
    fn poll(this: ArcBorrow<'_, Self>, file: &File, table: &PollTable<'_>) -> u32;

    /// The last user is gone. References held elsewhere may live on.
    fn release(this: Arc<Self>);
}

/// A registered device; dropping it unregisters. Open files keep the module, not this.
#[pin_data(PinnedDrop)]
pub(crate) struct Device<T: Node> {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    context: Arc<T::Context>,
    /// Files can be opened.
    admits: Atomic<bool>,
}

// SAFETY: A miscdevice may be unregistered from any thread.
unsafe impl<T: Node> Send for Device<T> {}
// SAFETY: The one method there is changes an atomic.
unsafe impl<T: Node> Sync for Device<T> {}

impl<T: Node> Device<T> {
    /// Registers `/dev/<name>`, mode 0600. Unless it `admits` at once, whoever opens it gets `ENODEV`
    /// until [`Device::admit`] is called.
    ///
    /// Open files keep the module, but not if its initialisation fails: it is freed then, whoever
    /// uses it. So nothing may fail any more behind what admits.
    pub(crate) fn register(
        name: &'static CStr,
        context: Arc<T::Context>,
        admits: bool,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // First, because `open` may be called as soon as the device is registered.
            context,
            admits: Atomic::new(admits),
            misc <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                let misc = bindings::miscdevice {
                    minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                    name: name.as_char_ptr(),
                    fops: &Self::FOPS,
                    mode: 0o600,
                    ..pin_init::zeroed()
                };
                // SAFETY: `slot` is valid for writes, and stays where it is until it is
                // unregistered by `drop`.
                unsafe {
                    slot.write(misc);
                    to_result(bindings::misc_register(slot))
                }
            }),
        }? Error)
    }

    /// Lets files be opened.
    pub(crate) fn admit(&self) {
        self.admits.store(true, Relaxed);
    }

    const FOPS: bindings::file_operations = bindings::file_operations {
        owner: this_module(),
        open: Some(Vtable::<T>::open),
        release: Some(Vtable::<T>::release),
        unlocked_ioctl: Some(Vtable::<T>::ioctl),
        compat_ioctl: bindings::compat_ptr_ioctl,
        read: Some(Vtable::<T>::read),
        poll: Some(Vtable::<T>::poll),
        llseek: Some(bindings::noop_llseek),
        ..pin_init::zeroed()
    };
}

#[pinned_drop]
impl<T: Node> PinnedDrop for Device<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered, or this would not have been constructed.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}

struct Vtable<T>(PhantomData<T>);

impl<T: Node> Vtable<T> {
    /// # Safety
    ///
    /// Called by the misc device layer for a registered `Device<T>`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `misc_open()` put the miscdevice there, and keeps it registered meanwhile.
        let misc = unsafe { (*file).private_data }.cast::<Opaque<bindings::miscdevice>>();
        // SAFETY: It is that of a `Device<T>`.
        let device = unsafe { kernel::container_of!(misc, Device<T>, misc) };
        // SAFETY: Both fields were initialised before the device was registered, and change only
        // atomically or not at all.
        let (context, admits) = unsafe { (&(*device).context, &(*device).admits) };
        if !admits.load(Relaxed) {
            return ENODEV.to_errno();
        }
        match T::open(context.as_arc_borrow()) {
            Ok(node) => {
                // SAFETY: The file is being opened. The reference is given back by `release`.
                unsafe { (*file).private_data = Arc::into_raw(node).cast_mut().cast() };
                // Reading is a stream: positions mean nothing.
                // SAFETY: The file is being opened.
                unsafe { bindings::stream_open(inode, file) }
            }
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `file` was opened by `open` and is in use for as long as the borrow.
    unsafe fn node<'a>(file: *mut bindings::file) -> ArcBorrow<'a, T> {
        // SAFETY: `open` put it there.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast_const().cast::<T>()) }
    }

    /// # Safety
    ///
    /// Called by the VFS for the last user of a file opened by `open`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` put it there.
        T::release(unsafe { Arc::from_raw((*file).private_data.cast_const().cast::<T>()) });
        0
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: By the requirement of this function.
        match T::ioctl(unsafe { Self::node(file) }, cmd, arg) {
            Ok(ret) => ret,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`.
    unsafe extern "C" fn read(
        file: *mut bindings::file,
        user: *mut u8,
        len: usize,
        _pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is valid; the flag may change under us, which decides nothing.
        let wait = unsafe { (*file).f_flags } & bindings::O_NONBLOCK == 0;
        let mut out = UserSlice::new(UserPtr::from_ptr(user.cast()), len).writer();
        // SAFETY: By the requirement of this function.
        match T::read(unsafe { Self::node(file) }, &mut out, wait) {
            Ok(done) => done as isize,
            Err(err) => err.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Called by the VFS for a file opened by `open`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The VFS gives a valid file and a table that is null or valid.
        let (file_ref, table) = unsafe { (File::from_raw_file(file), PollTable::from_raw(table)) };
        // SAFETY: By the requirement of this function.
        T::poll(unsafe { Self::node(file) }, file_ref, &table)
    }
}
