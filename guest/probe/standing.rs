// SPDX-License-Identifier: GPL-2.0

//! What modules of probes have to say for as long as it holds: which of their points are not
//! attached, and why. A load's result has it as it is then; when it changes the host is told anew.
//!
//! Lock order: the kernel's lock of module notifiers, then the one here. Nothing is done under it.

use super::remark::remark_for_now;
use crate::loader;
use kernel::{
    fmt,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
};

/// One sentence.
struct Sentence {
    module: CString,
    /// Point, and hook of it; empty if the sentence holds for good.
    point: CString,
    hook: CString,
    text: CString,
}

impl Sentence {
    fn is_about(&self, module: &CStr, point: &CStr, hook: &CStr) -> bool {
        *self.module == *module && *self.point == *point && *self.hook == *hook
    }
}

kernel::sync::global_lock! {
    // SAFETY: Initialised by `init`, which the module calls before a probe can be loaded.
    unsafe(uninit) static STANDING: Mutex<KVec<Sentence>> = KVec::new();
}

/// Sets it up.
///
/// # Safety
///
/// Called once, before anything else here.
pub(crate) unsafe fn init() {
    // SAFETY: The caller's promise.
    unsafe { STANDING.init() };
}

/// Gives its memory back: what is static is not dropped with the module. Process context.
pub(crate) fn exit() {
    *STANDING.lock() = KVec::new();
}

/// Which hook of which point of which module.
pub(crate) struct Whose {
    module: CString,
    point: CString,
    hook: CString,
}

impl Whose {
    /// The hook at `hook`, as it is described, of `point` of `module`.
    pub(crate) fn new(module: &CStr, point: &CStr, hook: &[u8]) -> Result<Self> {
        Ok(Self {
            module: CString::try_from(module)?,
            point: CString::try_from(point)?,
            hook: CString::try_from_fmt(fmt!("{}", BStr::from_bytes(hook)))?,
        })
    }

    /// The point's module.
    pub(crate) fn module(&self) -> &CStr {
        &self.module
    }

    /// The point's name.
    pub(crate) fn point(&self) -> &CStr {
        &self.point
    }

    /// Says `text` of it from here on, in place of what was said of it before, and in the kernel
    /// log. Process context.
    pub(crate) fn say(&self, text: fmt::Arguments<'_>) {
        let module: &CStr = &self.module;
        pr_warn!("{module}: {text}\n");
        if let Err(e) = self.replace(text) {
            pr_warn!("{module}: the operator does not hear of that: {e:?}\n");
        }
        loader::changed();
    }

    /// The same in the thread that loads the module: the operator is told with the load. What was
    /// said of it meanwhile is newer, and stays. Process context.
    pub(crate) fn say_first(&self, text: fmt::Arguments<'_>) {
        remark_for_now(&self.module, text);
        let said = {
            let standing = STANDING.lock();
            standing
                .iter()
                .any(|other| other.is_about(&self.module, &self.point, &self.hook))
        };
        if !said {
            // For want of memory it is told with the load only.
            let _ = self.replace(text);
        }
    }

    /// The same without a word to the host, which is told of the whole module.
    pub(crate) fn forget(&self) {
        let mut standing = STANDING.lock();
        standing.retain(|other| !other.is_about(&self.module, &self.point, &self.hook));
    }

    /// There is nothing to say of it any more. Returns whether there was. Process context.
    pub(crate) fn clear(&self) -> bool {
        let mut standing = STANDING.lock();
        let before = standing.len();
        standing.retain(|other| !other.is_about(&self.module, &self.point, &self.hook));
        let cleared = standing.len() != before;
        drop(standing);
        if cleared {
            loader::changed();
        }
        cleared
    }

    fn replace(&self, text: fmt::Arguments<'_>) -> Result {
        let new = Self::new(&self.module, &self.point, self.hook.to_bytes())?;
        let sentence = Sentence {
            module: new.module,
            point: new.point,
            hook: new.hook,
            text: CString::try_from_fmt(text)?,
        };
        let mut standing = STANDING.lock();
        let old = standing
            .iter_mut()
            .find(|other| other.is_about(&self.module, &self.point, &self.hook));
        match old {
            Some(old) => *old = sentence,
            None => standing.push(sentence, GFP_KERNEL)?,
        }
        Ok(())
    }
}

/// Something that holds for `module` as long as it is there. Process context.
pub(crate) fn add(module: &CStr, text: &CStr) -> Result {
    let sentence = Sentence {
        module: CString::try_from(module)?,
        point: CString::try_from(c"")?,
        hook: CString::try_from(c"")?,
        text: CString::try_from(text)?,
    };
    Ok(STANDING.lock().push(sentence, GFP_KERNEL)?)
}

/// `module` goes. Process context.
pub(crate) fn forget(module: &CStr) {
    STANDING.lock().retain(|other| *other.module != *module);
}

/// All that is to be said of the module of that name, with semicolons between the sentences.
/// Process context. What there is no memory for is left out.
pub(crate) fn text(module: &[u8]) -> KVec<u8> {
    let mut all = KVec::new();
    let standing = STANDING.lock();
    for sentence in standing
        .iter()
        .filter(|sentence| sentence.module.to_bytes() == module)
    {
        let separator: &[u8] = if all.is_empty() { b"" } else { b"; " };
        let added = all
            .extend_from_slice(separator, GFP_KERNEL)
            .and_then(|()| all.extend_from_slice(sentence.text.to_bytes(), GFP_KERNEL));
        if added.is_err() {
            break;
        }
    }
    all
}
