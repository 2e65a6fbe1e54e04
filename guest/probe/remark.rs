// SPDX-License-Identifier: GPL-2.0

//! What a module has to say while it is being loaded, kept for the thread that loads it.
//!
//! The module's init function runs in that thread, which is how the two find each other. What is
//! said in a load that VESPER has no part in is in the kernel log only.

use super::standing;
use crate::bindings;
use kernel::{
    prelude::*,
    str::CString,
    task::Pid, //
};

/// Most bytes of remarks on one load: a message has no room for more.
const MAX: usize = bindings::VIRTIO_VESPER_TEXT_LEN as usize;

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, which the module calls before a probe can be loaded.
    unsafe(uninit) static LISTENING: Mutex<KVec<(Pid, KVec<u8>)>> = KVec::new();
}

/// Sets it up.
///
/// # Safety
///
/// Called once, before anything else here.
pub(crate) unsafe fn init() {
    // SAFETY: The caller's promise.
    unsafe { LISTENING.init() };
}

/// Gives its memory back: what is static is not dropped with the module. Process context.
pub(crate) fn exit() {
    *LISTENING.lock() = KVec::new();
}

/// Listens to what is said in the calling thread.
pub(crate) struct Listening(Pid);

impl Listening {
    /// Begins. Process context.
    pub(crate) fn begin() -> Result<Self> {
        let pid = kernel::current!().pid();
        LISTENING.lock().push((pid, KVec::new()), GFP_KERNEL)?;
        Ok(Self(pid))
    }

    /// Ends, and says what was said: sentences with semicolons between them.
    pub(crate) fn end(self) -> KVec<u8> {
        let mut listening = LISTENING.lock();
        listening
            .iter_mut()
            .find(|(pid, _)| *pid == self.0)
            .map_or(KVec::new(), |(_, said)| {
                core::mem::replace(said, KVec::new())
            })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENING.lock().retain(|(pid, _)| *pid != self.0);
    }
}

/// Says something about the load that the calling thread is in. Process context.
pub(crate) fn remark(owner: &CStr, text: kernel::fmt::Arguments<'_>) {
    say(owner, text, |text| keep(owner, text));
}

/// The same where it is [`standing`] otherwise, and may change.
pub(crate) fn remark_for_now(owner: &CStr, text: kernel::fmt::Arguments<'_>) {
    say(owner, text, |_| ());
}

fn say(owner: &CStr, text: kernel::fmt::Arguments<'_>, keep: impl FnOnce(&CStr)) {
    pr_warn!("{owner}: {text}\n");
    match CString::try_from_fmt(text) {
        Ok(text) => {
            note(&text);
            keep(&text);
        }
        Err(e) => pr_warn!("{owner}: the operator does not hear of that: {e:?}\n"),
    }
}

/// Keeps what is said for later readers: for want of memory it is told once only.
fn keep(owner: &CStr, text: &CStr) {
    if !owner.is_empty() {
        let _ = standing::add(owner, text);
    }
}

fn note(text: &CStr) {
    let pid = kernel::current!().pid();
    let mut listening = LISTENING.lock();
    let Some((_, said)) = listening.iter_mut().find(|(of, _)| *of == pid) else {
        return;
    };
    let separator: &[u8] = if said.is_empty() { b"" } else { b"; " };
    for part in [separator, text.to_bytes()] {
        let room = MAX.saturating_sub(said.len());
        let part = part.get(..room).unwrap_or(part);
        // For want of memory the operator hears less: the kernel log has it.
        let _ = said.extend_from_slice(part, GFP_KERNEL);
    }
}

/// `vesper_remark()` of `hook.h`, with the sentence made.
///
/// # Safety
///
/// Both are strings.
#[no_mangle]
pub(crate) unsafe extern "C" fn vesper_guest_remark(
    owner: *const kernel::ffi::c_char,
    text: *const kernel::ffi::c_char,
) {
    // SAFETY: By the contract above.
    let (owner, text) = unsafe { (CStr::from_char_ptr(owner), CStr::from_char_ptr(text)) };
    note(text);
    keep(owner, text);
}
