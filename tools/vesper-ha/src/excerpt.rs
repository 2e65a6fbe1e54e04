// SPDX-License-Identifier: GPL-2.0

//! What is written down and passed on of a record. How long one is its guest says: it must
//! neither push what else was found out of the journal nor be more than a program's
//! environment can have.

use serde_json::{Map, Value as Json};
use vesper_abi::escape::is_unsafe;

/// So long may be a value, and all of them together, in bytes of JSON.
const ONE: usize = 8 << 10;
const ALL: usize = 16 << 10;
/// Of those, for saying what was left out.
const MARK: usize = 64;

/// Fields as far as there is room for them, the shortest before others. The rest is counted
/// behind them.
pub fn fields(all: &Map<String, Json>) -> Map<String, Json> {
    let sized = all.iter().enumerate().map(|(number, (name, value))| {
        let (value, mut left) = (cut(value), usize::MAX);
        let _ = text_fits(name, &mut left) && fits(&value, &mut left);
        (usize::MAX - left, number, name, value)
    });
    let mut sized: Vec<_> = sized.collect();
    sized.sort_by_key(|(size, ..)| *size);
    let mut left = ALL - MARK;
    sized.retain(|(size, ..)| take(&mut left, *size));
    sized.sort_by_key(|(_, number, ..)| *number);
    let kept = sized.into_iter();
    let mut kept: Map<_, _> = kept
        .map(|(_, _, name, value)| (name.clone(), value))
        .collect();
    if kept.len() < all.len() {
        // No field has such a name.
        let more = format!("{} more fields", all.len() - kept.len());
        kept.insert("...".into(), more.into());
    }
    kept
}

/// The same of a text.
pub fn text(all: &str) -> String {
    if text_fits(all, &mut { ONE }) {
        return all.to_owned();
    }
    let mut left = ONE - MARK;
    let kept = all.chars().take_while(|&c| take(&mut left, width(c)));
    let kept: String = kept.collect();
    format!("{kept}... ({} more bytes)", all.len() - kept.len())
}

fn cut(value: &Json) -> Json {
    if fits(value, &mut { ONE }) {
        return value.clone();
    }
    match value {
        Json::String(all) => text(all).into(),
        Json::Array(entries) => {
            let mut left = ONE - MARK;
            let kept = entries.iter().take_while(|entry| fits(entry, &mut left));
            let mut kept: Vec<_> = kept.cloned().collect();
            let more = entries.len() - kept.len();
            kept.push(format!("... ({more} more)").into());
            kept.into()
        }
        // A value and its label.
        Json::Object(parts) => {
            let parts = parts.iter().map(|(name, part)| (name.clone(), cut(part)));
            parts.collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Takes the room for a value and what is between it and the next; false if there is not so
/// much.
fn fits(value: &Json, left: &mut usize) -> bool {
    match value {
        Json::String(text) => text_fits(text, left),
        Json::Array(entries) => take(left, 3) && entries.iter().all(|entry| fits(entry, left)),
        Json::Object(parts) => {
            let mut parts = parts.iter();
            take(left, 3) && parts.all(|(name, part)| text_fits(name, left) && fits(part, left))
        }
        other => take(left, other.to_string().len() + 1),
    }
}

fn text_fits(text: &str, left: &mut usize) -> bool {
    take(left, 3) && text.chars().all(|c| take(left, width(c)))
}

fn take(left: &mut usize, len: usize) -> bool {
    let rest = left.checked_sub(len);
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

/// Bytes of a character as it is written, or a few more.
fn width(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if is_unsafe(c) => 6 * c.len_utf16(),
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(fields: &Map<String, Json>) -> usize {
        let mut out = Vec::new();
        vesper_cli::json::write_line(&mut out, fields).unwrap();
        out.len()
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let stack: Vec<_> = (0..64)
            .map(|n| json!({ "value": n, "label": "a_function_with_a_long_name+0x123/0x456 [module]" }))
            .collect();
        let all = json!({ "pid": 7, "comm": "a\"\n\u{202e}", "stack": stack, "none": null });
        let all = all.as_object().unwrap();
        assert_eq!(&fields(all), all);
        assert_eq!(text("x"), "x");
    }

    #[test]
    fn whatever_a_guest_writes_is_short_and_says_so() {
        let parts = [
            json!("x".repeat(1 << 16)),
            json!("\u{1}".repeat(1 << 16)),
            json!("\u{e0001}\"\\".repeat(1 << 16)),
            json!(vec![0; 1 << 16]),
            json!(vec![json!({ "value": 0, "label": null }); 1 << 16]),
            json!({ "value": 1, "label": "\n".repeat(1 << 16) }),
        ];
        for part in &parts {
            let all = json!({ "pid": 7, "part": part, "uid": 8 });
            let kept = fields(all.as_object().unwrap());
            assert!(
                (ONE / 2..ALL).contains(&written(&kept)),
                "{}",
                written(&kept)
            );
            assert!(kept["part"].to_string().contains("... ("));
            assert_eq!((&kept["pid"], &kept["uid"]), (&json!(7), &json!(8)));
        }
        let all = parts.iter().cycle().take(12).enumerate();
        let all = all.map(|(n, part)| (format!("part{n}"), part.clone()));
        let kept = fields(&all.chain([("pid".to_owned(), json!(7))]).collect());
        assert!(written(&kept) <= ALL, "{}", written(&kept));
        assert_eq!(kept["pid"], json!(7));
        assert!(kept["..."].to_string().ends_with("more fields\""));
        // Names are the guest's as well.
        let all = (0..256).map(|n| (n.to_string() + &"n".repeat(1 << 16), json!(1)));
        let kept = fields(&all.collect());
        assert_eq!(json!(kept), json!({ "...": "256 more fields" }));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let long = text(&"x".repeat(10_000));
        let kept = long.matches('x').count();
        assert_eq!(
            long,
            "x".repeat(kept) + &format!("... ({} more bytes)", 10_000 - kept)
        );
        let all = json!({ "numbers": vec![0; 10_000] });
        let kept = &fields(all.as_object().unwrap())["numbers"];
        let [zeros @ .., mark] = kept.as_array().unwrap().as_slice() else {
            panic!("{kept}");
        };
        assert_eq!(*mark, format!("... ({} more)", 10_000 - zeros.len()));
    }
}
