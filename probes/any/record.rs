// SPDX-License-Identifier: GPL-2.0

//! The records: their fields are known only when the parameters are.

use crate::{
    args::{
        Arg,
        Kind, //
    },
    kept::{
        Kept,
        Ticket,
        Words, //
    },
    min_us, n_subbufs, stack, subbuf_size, urgent,
    vesper::{
        self,
        bindings, //
    },
    wanted,
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*,
    str::{
        BStr,
        CString, //
    }, //
};

/// Most arguments.
pub(crate) const MAX_ARGS: usize = 8;

/// Room for the text of each, its end included.
pub(crate) const TEXT: usize = 64;

/// Places in the table of events.
const ENTRY: u32 = 0;
const RETURN: u32 = 1;

/// What is the same in all records of a place.
pub(crate) struct Call<'a> {
    pub(crate) at: &'a [u8],
    /// 0 if there is none.
    pub(crate) caller: usize,
}

/// A channel for records that have these arguments. Dropping it closes the channel.
pub(crate) struct Records {
    channel: NonNull<bindings::vesper_channel>,
    args: KVec<Arg<'static>>,
    /// What is recorded of a call only as it returns; if that is so.
    kept: Option<Kept>,
}

// SAFETY: The API is made to be called from any CPU; the rest is not written any more.
unsafe impl Send for Records {}

// SAFETY: As for `Send`.
unsafe impl Sync for Records {}

fn type_of(kind: Kind) -> u32 {
    match kind {
        Kind::Unsigned(1) => bindings::VESPER_TYPE_U8,
        Kind::Unsigned(2) => bindings::VESPER_TYPE_U16,
        Kind::Unsigned(4) => bindings::VESPER_TYPE_U32,
        Kind::Unsigned(_) => bindings::VESPER_TYPE_U64,
        Kind::Signed(1) => bindings::VESPER_TYPE_S8,
        Kind::Signed(2) => bindings::VESPER_TYPE_S16,
        Kind::Signed(4) => bindings::VESPER_TYPE_S32,
        Kind::Signed(_) => bindings::VESPER_TYPE_S64,
        Kind::Hex(4) => bindings::VESPER_TYPE_X32,
        Kind::Hex(_) => bindings::VESPER_TYPE_X64,
        Kind::String => bindings::VESPER_TYPE_STRING,
        Kind::Symbol => bindings::VESPER_TYPE_SYMBOL,
    }
}

impl Records {
    /// Opens the channel.
    pub(crate) fn open(args: KVec<Arg<'static>>) -> Result<Self> {
        let mut names = KVec::with_capacity(args.len(), GFP_KERNEL)?;
        for (n, arg) in args.iter().enumerate() {
            let name = match arg.name {
                Some(name) => CString::try_from_fmt(fmt!("{}", BStr::from_bytes(name)))?,
                None => CString::try_from_fmt(fmt!("arg{}", n + 1))?,
            };
            names.push(name, GFP_KERNEL)?;
        }
        let field = |name: &CStr, type_| bindings::vesper_field {
            name: name.as_char_ptr(),
            type_,
            labels: ptr::null(),
        };
        let (mut entry, mut exit) = (KVec::new(), KVec::new());
        for fields in [&mut entry, &mut exit] {
            for (name, type_) in [
                (c"pid", bindings::VESPER_TYPE_S32),
                (c"tgid", bindings::VESPER_TYPE_S32),
                (c"comm", bindings::VESPER_TYPE_STRING),
                (c"at", bindings::VESPER_TYPE_STRING),
                (c"caller", bindings::VESPER_TYPE_SYMBOL),
            ] {
                fields.push(field(name, type_), GFP_KERNEL)?;
            }
        }
        exit.push(field(c"ret", bindings::VESPER_TYPE_S64), GFP_KERNEL)?;
        exit.push(field(c"ns", bindings::VESPER_TYPE_U64), GFP_KERNEL)?;
        // With a threshold there are no entries: all is told when it is known to be wanted.
        let late = min_us() != 0;
        let fields = if late { &mut exit } else { &mut entry };
        for (name, arg) in names.iter().zip(&args) {
            fields.push(field(name, type_of(arg.kind)), GFP_KERNEL)?;
        }
        if stack() != 0 {
            fields.push(field(c"stack", bindings::VESPER_TYPE_STACK), GFP_KERNEL)?;
        }
        let event = |name: &CStr, fields: &[bindings::vesper_field]| bindings::vesper_event {
            name: name.as_char_ptr(),
            fields: fields.as_ptr(),
            nr_fields: fields.len() as u32,
        };
        let events = [event(c"entry", &entry), event(c"return", &exit)];
        let spec = bindings::vesper_channel_spec {
            owner: vesper::this_module(),
            name: ptr::null(),
            events: events.as_ptr(),
            nr_events: events.len() as u32,
            flags: 0,
            subbuf_size: subbuf_size(),
            n_subbufs: n_subbufs(),
            switch_ms: 0,
        };
        let kept = if late && !args.is_empty() {
            Some(Kept::new()?)
        } else {
            None
        };
        // SAFETY: The tables are as `probe.h` wants them, and there until the call is over.
        let channel = from_err_ptr(unsafe { bindings::vesper_channel_open(&spec) })
            .inspect_err(|&e| {
                if e == EINVAL {
                    vesper::remark(fmt!(
                        "the channel can't be opened: names in args= are identifiers, each another, and no words of TSDL"
                    ));
                }
            })?;
        Ok(Self {
            channel: NonNull::new(channel).ok_or(EINVAL)?,
            args,
            kept,
        })
    }

    /// What is recorded of a call.
    pub(crate) fn args(&self) -> &[Arg<'static>] {
        &self.args
    }

    /// Records that a place was reached, with the arguments that begin where `base` says. Any
    /// context.
    pub(crate) fn entry(&self, call: &Call<'_>, base: impl Fn(&Arg<'_>) -> usize) {
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        // Gathered first: while the record is written, interrupts are off.
        let words = self.words(base);
        let trace = trace(call);
        let len = common_len(task, call).saturating_add(self.more_len(&words, trace.as_ref()));
        self.write(ENTRY, len, |record| {
            common(record, task, call);
            self.put_more(&words, trace.as_ref(), record);
        });
    }

    /// Keeps the arguments of a call, which begin where `base` says, until it returns. Any context.
    pub(crate) fn keep(&self, now: u64, base: impl Fn(&Arg<'_>) -> usize) -> Option<Ticket> {
        let kept = self.kept.as_ref()?;
        vesper::Task::current().filter(|&task| wanted(task))?;
        kept.put(&self.words(base), self.args.len(), now)
    }

    /// Forgets them. Any context.
    pub(crate) fn forget(&self, ticket: Ticket) {
        if let Some(kept) = &self.kept {
            kept.drop(ticket);
        }
    }

    /// Records that a function returns, with what was kept of it. Any context.
    pub(crate) fn left(&self, call: &Call<'_>, ret: usize, ns: u64, ticket: Option<Ticket>) {
        let kept = self.kept.as_ref().zip(ticket);
        let words = kept.and_then(|(kept, ticket)| kept.take(ticket, self.args.len()));
        let Some(task) = vesper::Task::current().filter(|&task| wanted(task)) else {
            return;
        };
        let words = words.unwrap_or(Words::NONE);
        let late = min_us() != 0;
        let trace = if late { trace(call) } else { None };
        let mut len = common_len(task, call).saturating_add(2 * size_of::<u64>());
        if late {
            len = len.saturating_add(self.more_len(&words, trace.as_ref()));
        }
        self.write(RETURN, len, |record| {
            common(record, task, call);
            vesper::Value::put(&(ret as i64), record);
            vesper::Value::put(&ns, record);
            if late {
                self.put_more(&words, trace.as_ref(), record);
            }
        });
    }

    fn words(&self, base: impl Fn(&Arg<'_>) -> usize) -> Words {
        let mut words = Words::NONE;
        let places = words.values.iter_mut().zip(&mut words.texts);
        for (arg, (value, text)) in self.args.iter().zip(places) {
            *value = fetch(arg, base(arg), text);
        }
        words
    }

    /// Bytes of arguments and call stack.
    fn more_len(&self, words: &Words, trace: Option<&vesper::Stack>) -> usize {
        let mut len = trace.map_or(0, vesper::Value::size);
        for (arg, (&value, text)) in self.args.iter().zip(words.values.iter().zip(&words.texts)) {
            len = len.saturating_add(match arg.kind {
                Kind::String => vesper::Value::size(&known_text(value, text)),
                kind => kind.size(),
            });
        }
        len
    }

    fn put_more(
        &self,
        words: &Words,
        trace: Option<&vesper::Stack>,
        record: &mut vesper::Record<'_>,
    ) {
        for (arg, (&value, text)) in self.args.iter().zip(words.values.iter().zip(&words.texts)) {
            match arg.kind {
                Kind::String => vesper::Value::put(&known_text(value, text), record),
                Kind::Symbol => vesper::Value::put(&vesper::Symbol(value as usize), record),
                kind => match kind.size() {
                    1 => vesper::Value::put(&(value as u8), record),
                    2 => vesper::Value::put(&(value as u16), record),
                    4 => vesper::Value::put(&(value as u32), record),
                    _ => vesper::Value::put(&value, record),
                },
            }
        }
        if let Some(trace) = trace {
            vesper::Value::put(trace, record);
        }
    }

    fn write(&self, event: u32, len: usize, put: impl FnOnce(&mut vesper::Record<'_>)) {
        // SAFETY: The channel is open as long as `self`, and has such events.
        unsafe { vesper::Record::write(self.channel.as_ptr(), event, len, urgent(), put) };
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: Open until here; who used it had a reference.
        unsafe { bindings::vesper_channel_close(self.channel.as_ptr()) };
    }
}

fn common_len(task: vesper::Task<'_>, call: &Call<'_>) -> usize {
    [
        vesper::Value::size(&0i32),
        vesper::Value::size(&0i32),
        vesper::Value::size(&task.comm()).max(vesper::COMM_LEN),
        vesper::Value::size(&vesper::Text(call.at)),
        vesper::Value::size(&vesper::Symbol(0)),
    ]
    .iter()
    .sum()
}

fn common(record: &mut vesper::Record<'_>, task: vesper::Task<'_>, call: &Call<'_>) {
    vesper::Value::put(&task.pid(), record);
    vesper::Value::put(&task.tgid(), record);
    vesper::Value::put(&task.comm(), record);
    vesper::Value::put(&vesper::Text(call.at), record);
    vesper::Value::put(&vesper::Symbol(call.caller), record);
}

/// The call stack, if the operator wants it.
fn trace(call: &Call<'_>) -> Option<vesper::Stack> {
    (stack() != 0).then(|| match call.caller {
        0 => vesper::Stack::save(stack() as usize),
        caller => vesper::Stack::of_call(caller, stack() as usize),
    })
}

/// The text of an argument, of which the value is the length.
fn known_text(value: u64, text: &[u8; TEXT]) -> vesper::Text<'_> {
    vesper::Text(text.get(..value as usize).unwrap_or(&[]))
}

/// Follows an argument from its base to its value, of text its length; what can't be read is zero,
/// or no text.
fn fetch(arg: &Arg<'_>, base: usize, text: &mut [u8; TEXT]) -> u64 {
    let mut value = base;
    let last = arg.offsets().len().wrapping_sub(1);
    for (n, &offset) in arg.offsets().iter().enumerate() {
        let at = value.wrapping_add_signed(offset as isize);
        if n == last && arg.kind == Kind::String {
            return vesper::read_string(text, at).map_or(0, <[u8]>::len) as u64;
        }
        // No more than what is asked for: what is behind it may not be there.
        let size = if n == last {
            arg.kind.size()
        } else {
            size_of::<usize>()
        };
        let mut bytes = [0; size_of::<usize>()];
        let read = bytes
            .get_mut(..size)
            .is_some_and(|part| vesper::read(part, at));
        value = if read { usize::from_le_bytes(bytes) } else { 0 };
        if !read {
            break;
        }
    }
    match arg.kind {
        Kind::String => 0,
        _ => value as u64,
    }
}
