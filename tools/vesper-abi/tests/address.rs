// SPDX-License-Identifier: GPL-2.0

//! Addresses as the group "net" writes them, beside how the standard library does.

#![allow(dead_code)] // The group takes more of it than this.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;

#[path = "../../../probes/net/address.rs"]
mod address;

use address::Address;

fn text(address: &Address) -> &str {
    std::str::from_utf8(address.bytes()).unwrap()
}

fn same(v6: [u8; 16], port: u16) {
    let expected = SocketAddr::from((Ipv6Addr::from(v6), port)).to_string();
    assert_eq!(text(&Address::v6(v6, port)), expected);
}

#[test]
fn nothing() {
    assert_eq!(text(&Address::none()), "");
}

/// Each group zero or not: all ways in which runs of zeros can lie.
#[test]
fn runs_of_zeros() {
    for mask in 0..=255_u8 {
        let mut v6 = [0; 16];
        for group in (0..8).filter(|group| mask & (1 << group) != 0) {
            v6[2 * group + 1] = 7;
        }
        same(v6, 0);
    }
}

#[test]
fn v4_within_v6() {
    same(
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 255],
        65535,
    );
    same([255; 16], 65535);
}

proptest! {
    #[test]
    fn any_v4(v4: [u8; 4], port: u16) {
        let expected = SocketAddr::from((Ipv4Addr::from(v4), port)).to_string();
        let found = Address::v4(v4, port);
        prop_assert_eq!(text(&found), expected);
    }

    #[test]
    fn any_v6(v6: [u8; 16], port: u16) {
        same(v6, port);
    }
}
