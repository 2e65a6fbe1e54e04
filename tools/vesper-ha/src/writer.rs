// SPDX-License-Identifier: GPL-2.0

//! Threads that write lines, of the journal and of the service's log: the disk, or what
//! reads the log, may hang with the host's root file system, and that must hold up nobody
//! who judges or acts.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::hold::Hold;

/// What may wait to be written, in lines and bytes; more is left out, and counted.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_BYTES: usize = 4 << 20;
/// How long it may take at the end until all is written.
const END: Duration = Duration::from_secs(match cfg!(test) {
    // However slow the machine is that runs tests.
    true => 60,
    false => 5,
});

/// What is to be written next.
#[derive(Debug, PartialEq)]
pub enum Entry<T> {
    /// A line.
    Line(T),
    /// Here so many were left out.
    LeftOut(u64),
}

/// Has a thread write lines in the order in which they come.
pub struct Writer<T: AsRef<[u8]>>(Arc<Shared<T>>);

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    /// Something has come, or was written, or is late.
    moved: Condvar,
}

struct Queue<T> {
    waiting: VecDeque<Entry<T>>,
    bytes: usize,
    /// Entries that have come, and those of them that are written.
    come: u64,
    written: u64,
    /// Somebody has waited for too long, and until all is written nobody does.
    late: bool,
    /// No more will come.
    over: bool,
}

impl<T: AsRef<[u8]>> Queue<T> {
    fn put(&mut self, line: T) {
        let len = line.as_ref().len();
        if self.waiting.is_empty()
            || self.waiting.len() < MAX_WAITING && self.bytes + len <= MAX_WAITING_BYTES
        {
            self.bytes += len;
            self.waiting.push_back(Entry::Line(line));
        } else if let Some(Entry::LeftOut(lines)) = self.waiting.back_mut() {
            *lines += 1;
            return;
        } else {
            self.waiting.push_back(Entry::LeftOut(1));
        }
        self.come += 1;
    }

    fn take(&mut self) -> Option<Entry<T>> {
        let entry = self.waiting.pop_front()?;
        if let Entry::Line(line) = &entry {
            self.bytes -= line.as_ref().len();
        }
        Some(entry)
    }
}

impl<T: AsRef<[u8]> + Send + 'static> Writer<T> {
    /// Begins the thread; `write` writes an entry.
    pub fn begin(write: impl FnMut(Entry<T>) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                bytes: 0,
                come: 0,
                written: 0,
                late: false,
                over: false,
            }),
            moved: Condvar::new(),
        });
        let its = Arc::clone(&shared);
        thread::Builder::new().spawn(move || its.work(write))?;
        Ok(Self(shared))
    }
}

impl<T: AsRef<[u8]>> Writer<T> {
    /// Has a line written some time.
    pub fn put(&self, line: T) {
        self.0.queue.hold().put(line);
        self.0.moved.notify_all();
    }

    /// Has a line written, and waits for that, but for so long at most; not at all as long
    /// as not all is written of which that was said already. False says it.
    pub fn write(&self, line: T, patience: Duration) -> bool {
        let mut queue = self.0.queue.hold();
        queue.put(line);
        self.0.moved.notify_all();
        let until = queue.come;
        let waits = |queue: &mut Queue<T>| queue.written < until && !queue.late;
        let waited = self.0.moved.wait_timeout_while(queue, patience, waits);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !waits(&mut queue) {
            return true;
        }
        queue.late = true;
        // Nor do others who wait already.
        self.0.moved.notify_all();
        false
    }

    /// Waits until all is written that has come, but not for ever.
    pub fn flush(&self) {
        let queue = self.0.queue.hold();
        let until = queue.come;
        let waits = |queue: &mut Queue<T>| queue.written < until;
        drop(self.0.moved.wait_timeout_while(queue, END, waits));
    }
}

impl<T: AsRef<[u8]>> Drop for Writer<T> {
    fn drop(&mut self) {
        self.flush();
        self.0.queue.hold().over = true;
        self.0.moved.notify_all();
    }
}

impl<T: AsRef<[u8]>> fmt::Debug for Writer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<T: AsRef<[u8]>> Shared<T> {
    fn work(&self, mut write: impl FnMut(Entry<T>)) {
        let idle = |queue: &mut Queue<T>| queue.waiting.is_empty() && !queue.over;
        let mut queue = self.queue.hold();
        loop {
            let waited = self.moved.wait_while(queue, idle);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = queue.take() else {
                return;
            };
            drop(queue);
            write(entry);
            queue = self.queue.hold();
            queue.written += 1;
            queue.late &= !queue.waiting.is_empty();
            self.moved.notify_all();
        }
    }
}

/// The service's log, once it has a thread.
static LOG: OnceLock<Writer<String>> = OnceLock::new();

/// As long as this is there, who has something to say does not wait until it is said. Then
/// all that was is.
#[derive(Debug)]
pub struct Log(());

impl Log {
    /// Begins the thread; where none can be had, lines are written as they come.
    pub fn begin() -> Self {
        let begun = Writer::begin(|entry: Entry<String>| match entry {
            Entry::Line(text) => vesper_cli::say(&text),
            Entry::LeftOut(lines) => {
                vesper_cli::say(&format!("{lines} lines are left out: too many waited"));
            }
        });
        if let Ok(writer) = begun {
            let _ = LOG.set(writer);
        }
        Self(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(writer) = LOG.get() {
            writer.flush();
        }
    }
}

/// A line for the log.
pub fn say(text: String) {
    match LOG.get() {
        Some(writer) => writer.put(text),
        None => vesper_cli::say(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{channel, Receiver, Sender};

    const LONG: Duration = Duration::from_secs(60);

    /// A disk that writes an entry only when it is let, and what it has written.
    fn disk() -> (Writer<String>, Sender<()>, Receiver<Entry<String>>) {
        let (go, gone) = channel();
        let (tell, told) = channel();
        let writer = Writer::begin(move |entry| {
            let _ = gone.recv();
            let _ = tell.send(entry);
        });
        (writer.unwrap(), go, told)
    }

    fn line(text: &str) -> Entry<String> {
        Entry::Line(text.into())
    }

    #[test]
    fn what_is_waited_for_is_written() {
        let (writer, go, told) = disk();
        go.send(()).unwrap();
        assert!(writer.write("a".into(), LONG));
        assert_eq!(told.try_recv(), Ok(line("a")));
    }

    #[test]
    fn a_disk_that_hangs_is_waited_for_once() {
        let (writer, go, told) = disk();
        let short = Duration::from_millis(1);
        assert!(!writer.write("a".into(), short));
        // With a patience that the test would not have.
        assert!(writer.write("b".into(), Duration::MAX));
        writer.put("c".into());
        assert!(told.try_recv().is_err());
        drop(go);
        for text in ["a", "b", "c"] {
            assert_eq!(told.recv_timeout(LONG), Ok(line(text)));
        }
        // From then on it is as before.
        writer.flush();
        assert!(writer.write("d".into(), LONG));
        assert_eq!(told.try_recv(), Ok(line("d")));
    }

    #[test]
    fn those_who_wait_already_are_let_go_too() {
        let (writer, go, _told) = disk();
        let writer = Arc::new(writer);
        let other = Arc::clone(&writer);
        let waits = thread::spawn(move || other.write("a".into(), Duration::MAX));
        while writer.0.queue.hold().come == 0 {
            thread::yield_now();
        }
        assert!(!writer.write("b".into(), Duration::from_millis(1)));
        assert!(waits.join().unwrap());
        drop(go);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_left_out_counted() {
        let (writer, go, told) = disk();
        let long = "x".repeat(MAX_WAITING_BYTES / 2);
        // The thread takes the first.
        writer.put("first".into());
        while !writer.0.queue.hold().waiting.is_empty() {
            thread::yield_now();
        }
        for _ in 0..2 {
            writer.put(long.clone());
        }
        (0..3).for_each(|_| writer.put("more".into()));
        assert_eq!(writer.0.queue.hold().waiting.len(), 3);
        drop(go);
        assert_eq!(told.recv_timeout(LONG), Ok(line("first")));
        for _ in 0..2 {
            assert_eq!(told.recv_timeout(LONG), Ok(line(&long)));
        }
        assert_eq!(told.recv_timeout(LONG), Ok(Entry::LeftOut(3)));
        writer.flush();
        writer.put("again".into());
        assert_eq!(told.recv_timeout(LONG), Ok(line("again")));

        let (writer, go, _told) = disk();
        (0..2 * MAX_WAITING).for_each(|_| writer.put("x".into()));
        assert!(writer.0.queue.hold().waiting.len() <= MAX_WAITING + 1);
        drop(go);
    }

    #[test]
    fn at_the_end_all_is_written() {
        let (writer, go, told) = disk();
        (0..9).for_each(|_| writer.put("x".into()));
        drop(go);
        drop(writer);
        assert_eq!(told.try_iter().count(), 9);
    }
}
