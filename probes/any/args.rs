// SPDX-License-Identifier: GPL-2.0

//! What to record of a call, as the operator writes it: the kernel's own way for its kprobe events,
//! `[NAME=]FETCH[:TYPE]`.
//!
//! `core` only, so that `cargo test` covers it.

/// Most dereferences, one in the other.
pub(crate) const MAX_DEREFS: usize = 4;

/// Names of registers; a place here stands for one.
pub(crate) const REGISTERS: [&str; 18] = [
    "ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "ip", "flags",
];

/// Those that hold a function's arguments, in order.
const ARGUMENTS: [&str; 6] = ["di", "si", "dx", "cx", "r8", "r9"];

/// Where a value comes from, before it is taken for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// An argument of the function or tracepoint, counted from 0.
    Argument(usize),
    /// A register, by its place in [`REGISTERS`].
    Register(usize),
    /// A word of the stack, counted from its top.
    Stack(usize),
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An integer of so many bytes.
    Unsigned(usize),
    Signed(usize),
    /// One of 4 or 8 bytes that is shown in hexadecimal.
    Hex(usize),
    /// Text at an address.
    String,
    /// An address that has a name.
    Symbol,
}

/// A value that is to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arg<'a> {
    /// What it is to be called.
    pub(crate) name: Option<&'a [u8]>,
    pub(crate) base: Base,
    /// Offsets of what is dereferenced, in the order in which that is done.
    offsets: [i64; MAX_DEREFS],
    derefs: usize,
    pub(crate) kind: Kind,
}

impl<'a> Arg<'a> {
    /// Reads one. Fails with a sentence.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        let (name, text) = match text.iter().position(|&c| c == b'=') {
            Some(at) => (Some(&text[..at]), &text[at + 1..]),
            None => (None, text),
        };
        let (fetch, kind) = match text.iter().rposition(|&c| c == b':') {
            Some(at) => (&text[..at], Some(kind(&text[at + 1..])?)),
            None => (text, None),
        };
        let mut offsets = [0; MAX_DEREFS];
        let mut derefs = 0;
        let mut rest = fetch;
        while let Some(sign @ (b'+' | b'-')) = rest.first() {
            let open = rest.iter().position(|&c| c == b'(').ok_or(DEREF)?;
            let inner = rest.strip_suffix(b")").ok_or(DEREF)?;
            let offset = number(rest.get(1..open).ok_or(DEREF)?).ok_or(DEREF)?;
            let offset = i64::from(u32::try_from(offset).map_err(|_| DEREF)?);
            *offsets
                .get_mut(derefs)
                .ok_or("at most 4 dereferences, one in the other")? =
                if *sign == b'-' { -offset } else { offset };
            derefs += 1;
            rest = inner.get(open + 1..).ok_or(DEREF)?;
        }
        // The innermost comes first.
        offsets[..derefs].reverse();
        let base = base(rest)?;
        let kind = kind.unwrap_or(Kind::Hex(8));
        // Text is always behind an address.
        if kind == Kind::String && derefs == 0 {
            derefs = 1;
        }
        Ok(Self {
            name,
            base,
            offsets,
            derefs,
            kind,
        })
    }

    /// Offsets of what is dereferenced, in the order in which that is done.
    pub(crate) fn offsets(&self) -> &[i64] {
        self.offsets.get(..self.derefs).unwrap_or(&[])
    }
}

const DEREF: &str = "a dereference is +OFFSET(FETCH) or -OFFSET(FETCH)";

fn number(digits: &[u8]) -> Option<usize> {
    let (digits, radix) = match digits.strip_prefix(b"0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    if digits.first().is_some_and(|c| !c.is_ascii_alphanumeric()) {
        return None;
    }
    usize::from_str_radix(core::str::from_utf8(digits).ok()?, radix).ok()
}

fn base(text: &[u8]) -> Result<Base, &'static str> {
    if let Some(n) = text.strip_prefix(b"$arg") {
        return number(n)
            .filter(|n| (1..=ARGUMENTS.len()).contains(n))
            .map(|n| Base::Argument(n - 1))
            .ok_or("arguments are $arg1 to $arg6");
    }
    if let Some(n) = text.strip_prefix(b"$stack") {
        return number(n)
            .filter(|&n| n < 256)
            .map(Base::Stack)
            .ok_or("words of the stack are $stack0 to $stack255");
    }
    let register = text.strip_prefix(b"%").unwrap_or(text);
    if let Some(n) = ARGUMENTS
        .iter()
        .position(|name| name.as_bytes() == register)
    {
        return Ok(Base::Argument(n));
    }
    REGISTERS
        .iter()
        .position(|name| name.as_bytes() == register)
        .map(Base::Register)
        .ok_or("it is no register (di, si, dx, cx, r8, r9, ax...), $argN or $stackN")
}

fn kind(text: &[u8]) -> Result<Kind, &'static str> {
    Ok(match text {
        b"u8" => Kind::Unsigned(1),
        b"u16" => Kind::Unsigned(2),
        b"u32" => Kind::Unsigned(4),
        b"u64" => Kind::Unsigned(8),
        b"s8" => Kind::Signed(1),
        b"s16" => Kind::Signed(2),
        b"s32" => Kind::Signed(4),
        b"s64" => Kind::Signed(8),
        b"x32" => Kind::Hex(4),
        b"x64" => Kind::Hex(8),
        b"string" => Kind::String,
        b"symbol" => Kind::Symbol,
        _ => return Err("its type is none of u8 to u64, s8 to s64, x32, x64, string, symbol"),
    })
}

impl Kind {
    /// Bytes that it has in a record, apart from text.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Unsigned(size) | Self::Signed(size) | Self::Hex(size) => size,
            Self::String => 0,
            Self::Symbol => 8,
        }
    }
}

/// How a place is hooked, as far as it matters to what can be recorded there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// A function, as it is entered.
    Function,
    /// A function, as it is entered and as it returns.
    Call,
    Tracepoint,
}

impl At {
    /// Whether a value that begins so can be had there. Fails with a sentence.
    pub(crate) fn has(self, base: Base) -> Result<(), &'static str> {
        match (self, base) {
            (Self::Tracepoint, Base::Argument(0..=4)) => Ok(()),
            (Self::Tracepoint, _) => {
                Err("a tracepoint has $arg1 to $arg5, and neither registers nor stack")
            }
            (Self::Call, base) if !at_fprobe(base) => {
                Err("with returns= or min_us= there are only arguments, $stackN, ax, bp and sp")
            }
            _ => Ok(()),
        }
    }
}

/// Whether a hook by the cheaper way, an fprobe, has the register: those that have to do with calls.
pub(crate) fn at_fprobe(base: Base) -> bool {
    match base {
        Base::Argument(_) => true,
        Base::Register(n) => matches!(REGISTERS.get(n), Some(&("ax" | "bp" | "sp"))),
        Base::Stack(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arg<'_>, &'static str> {
        Arg::parse(text.as_bytes())
    }

    #[test]
    fn registers_arguments_and_stack() {
        for (text, base) in [
            ("di", Base::Argument(0)),
            ("%si", Base::Argument(1)),
            ("$arg6", Base::Argument(5)),
            ("$stack3", Base::Stack(3)),
            ("ax", Base::Register(0)),
            ("%flags", Base::Register(17)),
        ] {
            let arg = parse(text).unwrap();
            assert_eq!((arg.base, arg.kind), (base, Kind::Hex(8)), "{text}");
            assert!(arg.offsets().is_empty() && arg.name.is_none());
        }
    }

    #[test]
    fn dereferences_from_the_inside() {
        let arg = parse("port=+2(-0x10(+8(di))):u16").unwrap();
        assert_eq!(arg.name, Some(&b"port"[..]));
        assert_eq!(arg.offsets(), [8, -16, 2]);
        assert_eq!((arg.base, arg.kind), (Base::Argument(0), Kind::Unsigned(2)));
        assert_eq!(parse("di:string").unwrap().offsets(), [0]);
        assert_eq!(parse("+0(si):string").unwrap().offsets(), [0]);
    }

    #[test]
    fn what_a_place_has() {
        let at = |at: At, text| at.has(parse(text).unwrap().base).is_ok();
        for (text, function, call, tracepoint) in [
            ("$arg5", true, true, true),
            ("di", true, true, true),
            ("$arg6", true, true, false),
            ("$stack0", true, true, false),
            ("ax", true, true, false),
            ("bx", true, false, false),
            ("%flags", true, false, false),
        ] {
            assert_eq!(at(At::Function, text), function, "{text}");
            assert_eq!(at(At::Call, text), call, "{text}");
            assert_eq!(at(At::Tracepoint, text), tracepoint, "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "x",
            "$arg0",
            "$arg7",
            "$arg",
            "$stack",
            "+(di)",
            "+8di",
            "+8(di",
            "+8(",
            "+",
            "-",
            "+8()",
            "di:u7",
            "di:",
            "=",
            "+1(+1(+1(+1(+1(di)))))",
            "+-8(di)",
            "+4294967296(di)",
            "%%di",
            "+ 8(di)",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
