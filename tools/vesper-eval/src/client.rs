// SPDX-License-Identifier: GPL-2.0

//! One who asks for the page all the time and notes when the answer changes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::cli;
use crate::error::Result;

/// Asks until it is killed, or for as long as was said.
pub fn client(args: &cli::Client, out: &mut impl Write) -> Result<()> {
    let every = Duration::from_millis(args.every);
    let timeout = Duration::from_millis(args.timeout.max(1));
    let began = Instant::now();
    let mut was = None;
    let mut answered = 0_u64;
    loop {
        let asked = Instant::now();
        let up = ask(args.address, timeout);
        answered += u64::from(up);
        if was != Some(up) {
            was = Some(up);
            let event = if up { "up" } else { "down" };
            if args.count.is_none() {
                writeln!(out, "{}", json!({ "event": event, "at_ns": now_ns() }))?;
                out.flush()?;
            }
        }
        if let Some(seconds) = args.count {
            if began.elapsed() >= Duration::from_secs(seconds) {
                let per_second = answered as f64 / began.elapsed().as_secs_f64();
                writeln!(out, "{answered} {per_second:.2}")?;
                return Ok(());
            }
        }
        thread::sleep(every.saturating_sub(asked.elapsed()));
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

/// Whether the page comes, whole and in time.
fn ask(address: SocketAddr, timeout: Duration) -> bool {
    answer(address, timeout).is_ok_and(|text| text.starts_with(b"HTTP/1.1 200"))
}

fn answer(address: SocketAddr, timeout: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn serve(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 256];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer);
            }
        });
        address
    }

    #[test]
    fn only_a_page_is_an_answer() {
        let limit = Duration::from_secs(10);
        assert!(ask(serve(b"HTTP/1.1 200 OK\r\n\r\nhello"), limit));
        assert!(!ask(serve(b"HTTP/1.1 500 No\r\n\r\n"), limit));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        assert!(!ask(address, limit));
    }

    #[test]
    fn it_counts_for_as_long_as_was_said() {
        let mut out = Vec::new();
        let args = cli::Client {
            address: serve(b"HTTP/1.1 200 OK\r\n\r\nhello"),
            every: 1,
            timeout: 10_000,
            count: Some(0),
        };
        client(&args, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("1 "), "{text}");
    }
}
