// SPDX-License-Identifier: GPL-2.0

//! An address and a port as text, as everybody writes them: `192.0.2.1:80`, `[2001:db8::1]:80`
//! (RFC 5952). Made for probe points: nothing is allocated, and a formatter of the kernel's would
//! have several times the instructions.

use core::ops::Range;

/// Bytes of the longest.
const MAX: usize = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535".len();

/// The text.
pub(crate) struct Address {
    text: [u8; MAX],
    len: usize,
}

impl Address {
    /// What is not known: empty.
    pub(crate) const fn none() -> Self {
        Self {
            text: [0; MAX],
            len: 0,
        }
    }

    /// Of IPv4.
    pub(crate) fn v4(address: [u8; 4], port: u16) -> Self {
        let mut text = Self::none();
        text.octets(address);
        text.port(port);
        text
    }

    /// Of IPv6.
    pub(crate) fn v6(address: [u8; 16], port: u16) -> Self {
        let mut text = Self::none();
        text.put(b'[');
        match address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                for &byte in b"::ffff:" {
                    text.put(byte);
                }
                text.octets([a, b, c, d]);
            }
            _ => text.groups(address),
        }
        text.put(b']');
        text.port(port);
        text
    }

    /// The bytes of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or(&[])
    }

    fn put(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.len) {
            *place = byte;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Without zeros in front.
    fn number<const BASE: u16>(&mut self, number: u16, mut unit: u16) {
        let mut begun = false;
        while unit > 0 {
            let digit = (number / unit % BASE) as u8;
            begun |= digit != 0 || unit == 1;
            if begun {
                self.put(digit.wrapping_add(if digit < 10 { b'0' } else { b'a' - 10 }));
            }
            unit /= BASE;
        }
    }

    fn octets(&mut self, address: [u8; 4]) {
        for (nr, octet) in address.into_iter().enumerate() {
            if nr > 0 {
                self.put(b'.');
            }
            self.number::<10>(octet.into(), 100);
        }
    }

    fn groups(&mut self, address: [u8; 16]) {
        let mut groups = [0; 8];
        for (group, bytes) in groups.iter_mut().zip(address.chunks_exact(2)) {
            if let &[high, low] = bytes {
                *group = u16::from_be_bytes([high, low]);
            }
        }
        let left_out = zeros(&groups);
        for (nr, group) in groups.into_iter().enumerate() {
            if left_out.contains(&nr) {
                if nr == left_out.start {
                    self.put(b':');
                    self.put(b':');
                }
                continue;
            }
            if nr > 0 && nr != left_out.end {
                self.put(b':');
            }
            self.number::<16>(group, 0x1000);
        }
    }

    fn port(&mut self, port: u16) {
        self.put(b':');
        self.number::<10>(port, 10_000);
    }
}

/// A number for a connection, by its two ends (FNV-1a).
pub(crate) fn connection(ends: [&Address; 2]) -> u64 {
    ends.iter()
        .flat_map(|end| end.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

/// The groups that are left out: the first of the longest runs of zeros, of two and more.
fn zeros(groups: &[u16; 8]) -> Range<usize> {
    let (mut longest, mut from) = (0..0, 0);
    for (to, &group) in (1..).zip(groups) {
        if group != 0 {
            from = to;
        } else if (from..to).len() > longest.len().max(1) {
            longest = from..to;
        }
    }
    longest
}
