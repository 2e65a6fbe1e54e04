// SPDX-License-Identifier: GPL-2.0

//! The kernel's module loader, entered as user space enters it: through its system calls.
//!
//! That keeps to the stable ABI, and all checks on the way stay in force: signatures, lockdown, the
//! hooks of security modules. The system calls take user space addresses, so the caller needs an
//! address space: a kernel thread gets one for the purpose.
//!
//! C header: `guest/calls.h`

use super::kprobe;
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// Proof that the functions were found, so that they can be called.
pub(crate) struct Calls(());

impl Calls {
    /// Finds them. Process context.
    pub(crate) fn resolve() -> Result<Self> {
        let delete_module = kprobe::entry_of(c"__x64_sys_delete_module")?;
        let init_module = kprobe::entry_of(c"__x64_sys_init_module")?;
        let mm_alloc = kprobe::entry_of(c"mm_alloc")?;
        let pick_mmap_layout = kprobe::entry_of(c"arch_pick_mmap_layout")?;
        // SAFETY: These are the functions' first instructions, which never go: they are in the
        // kernel proper, and not in its init section, as they are needed for good.
        unsafe {
            bindings::vesper_helper_set_calls(
                delete_module,
                init_module,
                mm_alloc,
                pick_mmap_layout,
            )
        };
        Ok(Self(()))
    }
}

/// An address space that the calling kernel thread uses as its own, until it is dropped.
///
/// # Invariants
///
/// The pointer is to an `mm_struct` that this thread uses and holds a reference to.
pub(crate) struct AddressSpace<'a> {
    mm: NonNull<bindings::mm_struct>,
    _calls: &'a Calls,
    // Of this thread only.
    _not_send: PhantomData<*mut ()>,
}

impl<'a> AddressSpace<'a> {
    /// Makes one. In a kernel thread that has none.
    pub(crate) fn new(calls: &'a Calls) -> Result<Self> {
        // SAFETY: `current` is always there.
        let current = unsafe { &*bindings::get_current() };
        if !current.mm.is_null() || current.flags & bindings::PF_KTHREAD == 0 {
            return Err(EINVAL);
        }
        // SAFETY: `calls` shows that the functions behind it were found.
        let mm = NonNull::new(unsafe { bindings::vesper_helper_mm_create() }).ok_or(ENOMEM)?;
        // SAFETY: This is a kernel thread without an address space, and `mm` is one.
        unsafe { bindings::kthread_use_mm(mm.as_ptr()) };
        // INVARIANT: Just taken into use, and the reference is that of its making.
        Ok(Self {
            mm,
            _calls: calls,
            _not_send: PhantomData,
        })
    }

    /// Puts `parts` one behind the other into new memory, followed by a zero byte. Returns the
    /// address of each.
    fn place<const N: usize>(&self, parts: [&[u8]; N]) -> Result<[usize; N]> {
        let len = parts
            .iter()
            .try_fold(1usize, |len, part| len.checked_add(part.len()))
            .ok_or(EFBIG)?;
        // SAFETY: This thread has an address space, by the type's invariants; a mapping where the
        // kernel likes it harms nobody.
        let start = unsafe {
            bindings::vm_mmap(
                core::ptr::null_mut(),
                0,
                len,
                (bindings::PROT_READ | bindings::PROT_WRITE) as usize,
                (bindings::MAP_PRIVATE | bindings::MAP_ANONYMOUS) as usize,
                0,
            )
        };
        // An error is one of the last addresses there are.
        if start > usize::MAX.wrapping_sub(bindings::MAX_ERRNO as usize) {
            return Err(Error::from_errno(start as i32));
        }
        let mut writer = UserSlice::new(UserPtr::from_addr(start), len).writer();
        let mut at = start;
        let mut places = [0; N];
        for (place, part) in places.iter_mut().zip(parts) {
            writer.write_slice(part)?;
            *place = at;
            at = at.wrapping_add(part.len());
        }
        // The memory was zero, so the end is there already.
        Ok(places)
    }

    /// `init_module(2)`: loads a module. Returns when its init function has.
    pub(crate) fn init_module(&self, image: &[u8], params: &[u8]) -> Result {
        let [image_at, params_at] = self.place([image, params])?;
        // SAFETY: The function was found, as an address space shows. It trusts none of its
        // arguments.
        to_result(unsafe {
            bindings::vesper_helper_init_module(image_at, image.len(), params_at) as i32
        })
    }

    /// `delete_module(2)`, without waiting for those that use the module. Returns when its exit
    /// function has.
    pub(crate) fn delete_module(&self, name: &[u8]) -> Result {
        let [name_at] = self.place([name])?;
        // SAFETY: As in `init_module`.
        to_result(unsafe {
            bindings::vesper_helper_delete_module(name_at, bindings::O_NONBLOCK) as i32
        })
    }
}

impl Drop for AddressSpace<'_> {
    fn drop(&mut self) {
        // SAFETY: This thread uses `mm` and holds a reference to it, by the type's invariants.
        unsafe {
            bindings::kthread_unuse_mm(self.mm.as_ptr());
            bindings::mmput(self.mm.as_ptr());
        }
    }
}
