// SPDX-License-Identifier: GPL-2.0

//! What the fields of a record can be.

use super::{
    bindings,
    this_module,
    Record,
    Task, //
};
use core::ptr;
use kernel::ffi::c_ulong;

/// Most entries of a [`Stack`].
pub(crate) const MAX_STACK: usize = 64;

/// Names of a field's values, or none.
#[derive(Clone, Copy)]
pub(crate) struct Labels(*const bindings::vesper_labels);

impl Labels {
    /// None.
    pub(crate) const NONE: Self = Self(ptr::null());

    /// Those of a table.
    ///
    /// # Safety
    ///
    /// The table, and all that it refers to, is there as long as the module.
    pub(crate) const unsafe fn new(raw: *const bindings::vesper_labels) -> Self {
        Self(raw)
    }

    /// For the description of a field.
    pub(crate) const fn as_ptr(self) -> *const bindings::vesper_labels {
        self.0
    }
}

/// The value of a field: how it is described, how long it is, how it is written.
pub(crate) trait Value {
    /// `VESPER_TYPE_*`.
    const TYPE: u32;
    /// Names of its values.
    const LABELS: Labels = Labels::NONE;

    /// Most bytes it takes. Any context.
    fn size(&self) -> usize;

    /// Writes it, `size()` bytes at most: what is more than was asked for has the record dropped.
    /// Any context.
    fn put(&self, record: &mut Record<'_>);
}

#[doc(hidden)]
macro_rules! integers {
    ($($type:ty: $id:ident,)*) => {
        $(impl Value for $type {
            const TYPE: u32 = bindings::$id;

            #[inline]
            fn size(&self) -> usize {
                size_of::<$type>()
            }

            #[inline]
            fn put(&self, record: &mut Record<'_>) {
                record.put(&self.to_le_bytes());
            }
        })*
    };
}

integers! {
    u8: VESPER_TYPE_U8,
    u16: VESPER_TYPE_U16,
    u32: VESPER_TYPE_U32,
    u64: VESPER_TYPE_U64,
    i8: VESPER_TYPE_S8,
    i16: VESPER_TYPE_S16,
    i32: VESPER_TYPE_S32,
    i64: VESPER_TYPE_S64,
}

/// An integer that is shown in hexadecimal.
#[derive(Clone, Copy)]
pub(crate) struct Hex(pub(crate) u64);

impl Value for Hex {
    const TYPE: u32 = bindings::VESPER_TYPE_X64;

    #[inline]
    fn size(&self) -> usize {
        size_of::<u64>()
    }

    #[inline]
    fn put(&self, record: &mut Record<'_>) {
        record.put(&self.0.to_le_bytes());
    }
}

/// Text: up to the first NUL, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl Value for Text<'_> {
    const TYPE: u32 = bindings::VESPER_TYPE_STRING;

    #[inline]
    fn size(&self) -> usize {
        self.0.len().saturating_add(1)
    }

    #[inline]
    fn put(&self, record: &mut Record<'_>) {
        // SAFETY: The record is begun, the text as long as said.
        unsafe {
            bindings::vesper_put_string(record.raw(), self.0.as_ptr().cast(), self.0.len() as u32)
        };
    }
}

/// Bytes.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Value for Bytes<'_> {
    const TYPE: u32 = bindings::VESPER_TYPE_BYTES;

    #[inline]
    fn size(&self) -> usize {
        self.0.len().saturating_add(size_of::<u32>())
    }

    #[inline]
    fn put(&self, record: &mut Record<'_>) {
        // SAFETY: The record is begun, the bytes are as many as said.
        unsafe {
            bindings::vesper_put_bytes(record.raw(), self.0.as_ptr().cast(), self.0.len() as u32)
        };
    }
}

/// An address of the kernel, which is shown by its name.
#[derive(Clone, Copy)]
pub(crate) struct Symbol(pub(crate) usize);

impl Value for Symbol {
    const TYPE: u32 = bindings::VESPER_TYPE_SYMBOL;

    #[inline]
    fn size(&self) -> usize {
        size_of::<u64>()
    }

    #[inline]
    fn put(&self, record: &mut Record<'_>) {
        record.put_symbols(&[self.0 as c_ulong]);
    }
}

/// Most bytes of [`Names`].
const MAX_NAMES: usize = 1536;

/// Bytes of a name for which there is room, on average.
const NAME_LEN: usize = 80;

/// The names of addresses as text, a line each: for records behind which nothing may come, as that
/// of a panic, when names can't be sent any more. In others they are a waste of room.
pub(crate) struct Names(Stack);

impl Names {
    /// The name of one address. Any context.
    pub(crate) fn one(address: usize) -> Self {
        let mut entries = [0; MAX_STACK];
        entries[0] = address as c_ulong;
        Self(Stack { entries, len: 1 })
    }

    /// Most bytes that the text takes.
    fn max(&self) -> usize {
        self.0.len.saturating_mul(NAME_LEN).min(MAX_NAMES)
    }
}

impl From<Stack> for Names {
    fn from(stack: Stack) -> Self {
        Self(stack)
    }
}

impl Value for Names {
    const TYPE: u32 = bindings::VESPER_TYPE_STRING;

    #[inline]
    fn size(&self) -> usize {
        self.max().saturating_add(1)
    }

    #[inline]
    fn put(&self, record: &mut Record<'_>) {
        let addresses = self.0.entries();
        // SAFETY: The record is begun, the addresses are as many as said.
        unsafe {
            bindings::vesper_put_names(
                record.raw(),
                addresses.as_ptr(),
                addresses.len() as u32,
                self.max() as u32,
            )
        };
    }
}

/// A call stack, innermost first.
pub(crate) struct Stack {
    entries: [c_ulong; MAX_STACK],
    len: usize,
}

impl Stack {
    /// Takes this CPU's call stack, at most `depth` entries, without the probe's own functions. It
    /// is empty if this is what taking one has led to. Any context.
    #[inline]
    pub(crate) fn save(depth: usize) -> Self {
        let mut entries = [0; MAX_STACK];
        let depth = depth.min(MAX_STACK) as u32;
        // SAFETY: There is room for `depth` entries, and the module is this one.
        let len = unsafe {
            bindings::vesper_stack_save(this_module(), entries.as_mut_ptr(), depth) as usize
        };
        Self { entries, len }
    }

    /// The same from a call of a function on, for its handler: without what is on the stack for the
    /// sake of the hook. The first entry is then where the function returns to.
    #[inline]
    pub(crate) fn of_call(caller: usize, depth: usize) -> Self {
        let mut this = Self::save(MAX_STACK);
        if let Some(from) = this.entries().iter().position(|&entry| entry == caller) {
            this.entries.copy_within(from..this.len, 0);
            this.len = this.len.wrapping_sub(from);
        }
        this.len = this.len.min(depth);
        this
    }

    /// Takes the call stack of a task that does not run; of one that does, nothing that can be
    /// relied on. Any context but NMI.
    pub(crate) fn of(task: Task<'_>, depth: usize) -> Self {
        let mut entries = [0; MAX_STACK];
        let depth = depth.min(MAX_STACK) as u32;
        // SAFETY: There is room for `depth` entries, and the task is there.
        let len = unsafe {
            kernel::bindings::stack_trace_save_tsk(task.as_raw(), entries.as_mut_ptr(), depth, 0)
        };
        Self {
            entries,
            len: (len as usize).min(MAX_STACK),
        }
    }

    fn entries(&self) -> &[c_ulong] {
        self.entries.get(..self.len).unwrap_or(&[])
    }
}

impl Value for Stack {
    const TYPE: u32 = bindings::VESPER_TYPE_STACK;

    #[inline]
    fn size(&self) -> usize {
        size_of_val(self.entries()).saturating_add(size_of::<u32>())
    }

    #[inline]
    fn put(&self, record: &mut Record<'_>) {
        record.put(&(self.entries().len() as u32).to_le_bytes());
        record.put_symbols(self.entries());
    }
}
