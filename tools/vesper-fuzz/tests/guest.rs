// SPDX-License-Identifier: GPL-2.0

//! What the group "any" makes of an operator's arguments, in a guest's kernel.

#![allow(dead_code)] // The group takes more of it than this.

#[path = "../../../probes/any/args.rs"]
mod args;

use args::{Arg, At, MAX_DEREFS, REGISTERS};

#[test]
fn arguments() {
    vesper_fuzz::fuzz("args", |bytes| match Arg::parse(bytes) {
        Ok(arg) => {
            assert!(arg.offsets().len() <= MAX_DEREFS);
            if let args::Base::Register(number) = arg.base {
                assert!(number < REGISTERS.len());
            }
            let has = |at: At| if at.has(arg.base).is_ok() { '+' } else { '-' };
            let places = [At::Function, At::Call, At::Tracepoint].map(has);
            let places = String::from_iter(places);
            format!("ok {places} {} {:?}", arg.offsets().len(), arg.kind)
        }
        Err(why) => why.into(),
    });
}
