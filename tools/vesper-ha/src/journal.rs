// SPDX-License-Identifier: GPL-2.0

//! What was seen and done, a JSON object a line. It is written before anything is
//! done, so that a daemon that was killed finds out what it had begun.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::time::{clock_gettime, ClockId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::action::log;
use crate::carry::Needed;
use crate::error::{Error, Result};
use crate::event::Boot;
use crate::judge::Refrain;
use crate::losses::Loss;
use crate::writer::{Entry, Writer};

const NAME: &str = "journal.jsonl";
/// All of it, oldest first: what older lines there are that are needed, the file that was put
/// aside, and the one that is written.
const FILES: [&str; 3] = ["journal.jsonl.carried", "journal.jsonl.1", NAME];
/// The file before it is put aside; one such is kept.
const MAX_LEN: u64 = 16 << 20;
/// Where it could not be put aside, that is tried again after so much more.
const MORE: u64 = 1 << 20;
/// How long whoever is about to act waits until a line is written.
const PATIENCE: Duration = Duration::from_secs(match cfg!(test) {
    // Tests read what they have written, however slow the machine is.
    true => 60,
    false => 1,
});

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant)] // Most of those that are kept are of the large one.
pub enum Line {
    /// A rule has found something.
    Found(Found),
    /// The names of symbols in the record have come.
    Named {
        /// Of which line.
        id: u64,
        /// Fields of the record.
        fields: Map<String, Json>,
    },
    /// A part of what was to be done.
    Step {
        /// For which line.
        id: u64,
        /// What was done.
        what: String,
        /// Whether it could be done.
        ok: bool,
        /// What there is to say.
        text: String,
        /// When it was over, in nanoseconds since 1970.
        at_ns: i64,
    },
    /// All was done, or given up.
    Done {
        /// For which line.
        id: u64,
    },
    /// A guest was left alone after all: what was found was over.
    Spared {
        /// For which line.
        id: u64,
        /// When, in nanoseconds since 1970.
        at_ns: i64,
        /// Or the guest was in an operator's hands.
        #[serde(default, skip_serializing_if = "is_no")]
        hands_off: bool,
    },
    /// An operator says that a guest is well.
    Cleared {
        /// The guest.
        guest: String,
        /// When, in nanoseconds since 1970.
        at_ns: i64,
    },
    /// What a rule had set for a time, it sets no more.
    TakenBack {
        /// Name of the rule.
        rule: String,
        /// The guest.
        guest: String,
        /// Name of the attribute.
        name: String,
        /// Number of the last line because of which it was set: the cluster may have
        /// confirmed it only after the next one.
        #[serde(default = "any")]
        id: u64,
        /// When, in nanoseconds since 1970.
        at_ns: i64,
    },
    /// Records that no rule has seen.
    Lost {
        /// The guest.
        guest: String,
        /// Its boot id.
        boot_id: String,
        /// Whose records they were.
        probe: String,
        /// How many.
        loss: Loss,
        /// When that was told, in nanoseconds since 1970.
        at_ns: i64,
    },
    /// Something to know.
    Note {
        /// When, in nanoseconds since 1970.
        at_ns: i64,
        /// What.
        text: String,
    },
}

impl Line {
    /// The number of the finding that it is about, or because of which it was written.
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Found(Found { id, .. })
            | Self::Named { id, .. }
            | Self::Step { id, .. }
            | Self::Done { id }
            | Self::Spared { id, .. }
            | Self::TakenBack { id, .. } => Some(*id).filter(|&id| id != any()),
            Self::Cleared { .. } | Self::Lost { .. } | Self::Note { .. } => None,
        }
    }
}

/// What a rule has found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Found {
    /// Number of the line among those of its kind.
    pub id: u64,
    /// Name of the rule.
    pub rule: String,
    /// The guest.
    pub guest: String,
    /// Its boot id.
    pub boot_id: String,
    /// Whose record it was.
    pub probe: String,
    /// Name of the record.
    pub event: String,
    /// When it happened, in nanoseconds since 1970, by the record.
    pub time_ns: i64,
    /// When it was judged.
    pub at_ns: i64,
    /// Its fields.
    pub fields: Map<String, Json>,
    /// Events that the rule held back before this one.
    pub held_back: u64,
    /// Boot id of this host, whose clock the next two times are by.
    #[serde(default)]
    pub host_boot: String,
    /// When it was judged.
    #[serde(default)]
    pub at_boot_ns: i64,
    /// The rule does no more about this boot before.
    #[serde(default)]
    pub until_boot_ns: i64,
    /// The guest's VMM then; 0 if that is not known.
    #[serde(default)]
    pub vmm_pid: i32,
    /// The guest was failed before, for something else that was found in this boot.
    #[serde(default, skip_serializing_if = "is_no")]
    pub failed: bool,
    /// Why nothing is done, if nothing is.
    pub refrained: Option<String>,
    /// Something is to be done.
    #[serde(default, skip_serializing_if = "is_no")]
    pub acts: bool,
    /// The limit on actions put it off.
    #[serde(default, skip_serializing_if = "is_no")]
    pub put_off: bool,
    /// By a dry run: nothing was done.
    #[serde(default, skip_serializing_if = "is_no")]
    pub dry_run: bool,
    /// Attributes of the node that are set for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
}

/// What is so rare that it is worth no mention.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes it so.
fn is_no(value: &bool) -> bool {
    !value
}

/// Of lines that do not say it.
fn any() -> u64 {
    u64::MAX
}

impl Found {
    /// Whether attributes are set for it, which the limit on actions does not put off.
    pub fn sets(&self) -> bool {
        let why = self.refrained.as_deref();
        why.is_none_or(|why| why == Refrain::Limit.text())
    }

    /// Where it happened.
    pub fn boot(&self) -> Boot {
        Boot {
            guest: self.guest.clone(),
            id: self.boot_id.clone(),
        }
    }
}

/// The file, and a thread that writes it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    writer: Writer<Vec<u8>>,
}

/// The file for that thread.
#[derive(Debug)]
struct Files {
    dir: PathBuf,
    out: Lines<File>,
}

/// Where lines are written to.
#[derive(Debug)]
struct Lines<W> {
    out: W,
    /// The last one may be a part only, of a writer that died or found no more room: the
    /// next one must not be glued to it.
    torn: bool,
    /// How long it may be.
    most: u64,
}

impl Journal {
    /// Opens it for writing.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(NAME);
        let out = fs::create_dir_all(dir).and_then(|()| append(&path));
        let writer = out.and_then(|out| {
            let dir = dir.to_owned();
            let mut files = Files { dir, out };
            Writer::begin(move |entry| files.write(entry))
        });
        match writer {
            Ok(writer) => Ok(Self { path, writer }),
            Err(error) => Err(Error::File { path, error }),
        }
    }

    /// Adds a line. It is in the kernel's hands when this returns, unless the disk hangs: a
    /// host of which that is found must be acted on all the same.
    pub fn write(&self, line: &Line) {
        let mut text = Vec::new();
        if let Err(error) = vesper_cli::json::write_line(&mut text, line) {
            return log(&format!("{}: {error}", self.path.display()));
        }
        if !self.writer.write(text, PATIENCE) {
            log(&format!(
                "{}: writing takes more than {} s: what is found is acted on before it is written",
                self.path.display(),
                PATIENCE.as_secs(),
            ));
        }
    }

    /// Waits until all is written, if the disk takes it.
    pub fn flush(&self) {
        self.writer.flush();
    }

    /// Everything in it, oldest first. Lines that a crash cut off are left out.
    pub fn read(dir: &Path) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        each(dir, &FILES, |_, text, _| {
            lines.extend(serde_json::from_slice::<Line>(text).ok());
        })?;
        Ok(lines)
    }
}

impl Files {
    fn write(&mut self, entry: Entry<Vec<u8>>) {
        let turned = self.turn();
        let written = match entry {
            Entry::Line(text) => self.out.write(&text),
            Entry::LeftOut(lines) => self.tell_left_out(lines),
        };
        for error in [turned, written].into_iter().filter_map(io::Result::err) {
            // What is to be done matters more than that it is written down.
            log(&format!("{}: {error}", self.dir.join(NAME).display()));
        }
    }

    fn tell_left_out(&mut self, lines: u64) -> io::Result<()> {
        let text = format!("{lines} lines of the journal are left out: too many waited");
        log(&text);
        let at_ns = now_ns();
        let mut line = Vec::new();
        vesper_cli::json::write_line(&mut line, &Line::Note { at_ns, text })?;
        self.out.write(&line)
    }

    /// Puts a file aside that has become long. Where that can't be done, it becomes longer.
    fn turn(&mut self) -> io::Result<()> {
        let len = self.out.out.metadata()?.len();
        if len < self.out.most {
            return Ok(());
        }
        self.out.most = len + MORE;
        let [_, aside, path] = FILES.map(|name| self.dir.join(name));
        // If it is not there, it is the one that was put aside the last time.
        if path.exists() {
            if let Err(error) = self.carry() {
                log(&format!("what was before can't be carried over: {error}"));
                // It is not thrown away for want of room.
                if len < 2 * MAX_LEN {
                    return Ok(());
                }
            }
        }
        match fs::rename(&path, aside) {
            // So far it came the last time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.out = append(&path)?;
        Ok(())
    }

    /// Carries over what is needed of the lines that are about to be gone. A crash before they
    /// are leaves them there, and it is known that they are not needed.
    fn carry(&self) -> Result<()> {
        let mut needed = Needed::new(host_boot());
        each(&self.dir, &FILES, |at, text, _| {
            if let Ok(line) = serde_json::from_slice(text) {
                needed.note(at, &line);
            }
        })?;
        let findings = needed.findings();
        let [path, aside, _] = FILES.map(|name| self.dir.join(name));
        let mut kept = Vec::new();
        if let Ok(meta) = fs::metadata(aside) {
            let contains = Contains::of(&meta);
            kept = serde_json::to_vec(&contains).unwrap_or_default();
            kept.push(b'\n');
        }
        each(&self.dir, &FILES[..2], |at, text, _| {
            let line = serde_json::from_slice(text);
            if line.is_ok_and(|line| needed.has(at, &line, &findings)) {
                kept.extend_from_slice(text);
                kept.push(b'\n');
            }
        })?;
        let new = path.with_extension("new");
        let written = fs::write(&new, kept).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| {
            let _ = fs::remove_file(&new);
            Error::File { path, error }
        })
    }
}

/// The first line of what is carried: the file that was put aside of which the rest has all
/// that is needed, by its number and length.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Contains {
    contains: (u64, u64),
}

impl Contains {
    fn of(meta: &Metadata) -> Self {
        let contains = (meta.ino(), meta.len());
        Self { contains }
    }
}

/// Hands on each line of these files, with its number and that of the file, but for those of
/// one that is contained in what is carried.
fn each(dir: &Path, files: &[&str], mut take: impl FnMut(usize, &[u8], usize)) -> Result<()> {
    let (mut at, mut contained) = (0, None);
    for (number, name) in files.iter().enumerate() {
        let path = dir.join(name);
        let failed = |error| Error::File {
            path: path.clone(),
            error,
        };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(failed)?,
        };
        let identity = file.metadata().map(|meta| Contains::of(&meta)).ok();
        if contained.is_some() && contained == identity {
            continue;
        }
        for text in BufReader::new(file).split(b'\n') {
            let text = text.map_err(failed)?;
            if number == 0 && at == 0 {
                contained = serde_json::from_slice(&text).ok();
            }
            take(at, &text, number);
            at += 1;
        }
    }
    Ok(())
}

fn append(path: &Path) -> io::Result<Lines<File>> {
    let out = OpenOptions::new().create(true).append(true).open(path)?;
    let torn = out.metadata()?.len() > 0;
    let most = MAX_LEN;
    Ok(Lines { out, torn, most })
}

impl<W: Write> Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.out.write_all(b"\n")?;
        }
        self.torn = true;
        self.out.write_all(line)?;
        self.torn = false;
        Ok(())
    }
}

/// Nanoseconds since the host booted: a clock that nobody sets. It goes on while the
/// host is suspended.
pub fn boot_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| {
        now.tv_sec()
            .saturating_mul(1_000_000_000)
            .saturating_add(now.tv_nsec())
    })
}

/// Which boot of the host that clock belongs to.
pub fn host_boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.unwrap_or_default().trim().to_owned()
}

/// Nanoseconds since 1970, now.
pub fn now_ns() -> i64 {
    i64::try_from(vesper_cli::sys::wall_clock_ns()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room left.
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= len;
            self.text.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn done(id: u64) -> String {
        serde_json::json!(Line::Done { id }).to_string() + "\n"
    }

    fn ids(dir: &Path) -> Vec<u64> {
        let lines = Journal::read(dir).unwrap().into_iter();
        let id = |line| match line {
            Line::Done { id } => Some(id),
            _ => None,
        };
        lines.filter_map(id).collect()
    }

    #[test]
    fn a_full_disk_costs_only_lines_that_it_has_no_room_for() {
        let whole = done(1).len();
        for left in 0..=2 * whole {
            let disk = Disk {
                text: Vec::new(),
                room: whole + left,
            };
            let mut lines = Lines {
                out: disk,
                torn: false,
                most: MAX_LEN,
            };
            lines.write(done(1).as_bytes()).unwrap();
            let full = [2, 3].map(|id| lines.write(done(id).as_bytes()).is_err());
            lines.out.room = usize::MAX;
            for id in 4..=5 {
                lines.write(done(id).as_bytes()).unwrap();
            }
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(NAME), &lines.out.text).unwrap();
            let found = ids(dir.path());
            let kept = |id: u64, full: bool| full || found.contains(&id);
            assert!(kept(2, full[0]) && kept(3, full[1]), "{left}: {found:?}");
            assert!(
                found.starts_with(&[1]) && found.ends_with(&[4, 5]),
                "{left}: {found:?}"
            );
        }
    }

    #[test]
    fn a_line_that_was_cut_off_by_a_crash_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), done(1) + &done(2)[..5]).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        journal.write(&Line::Done { id: 3 });
        journal.write(&Line::Done { id: 4 });
        assert_eq!(ids(dir.path()), [1, 3, 4]);
    }

    #[test]
    fn a_file_that_was_put_aside_by_halves_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        journal.write(&Line::Done { id: 1 });
        let path = dir.path().join(NAME);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(MAX_LEN).unwrap();
        // It has another name, and the new one could not be made.
        fs::rename(&path, dir.path().join(format!("{NAME}.1"))).unwrap();
        journal.write(&Line::Done { id: 2 });
        assert_eq!(ids(dir.path()), [1, 2]);
        // It can't be put aside at all.
        file.set_len(0).unwrap();
        fs::remove_file(dir.path().join(format!("{NAME}.1"))).unwrap();
        fs::create_dir_all(dir.path().join(format!("{NAME}.1/x"))).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(MAX_LEN).unwrap();
        journal.write(&Line::Done { id: 3 });
        let text = fs::read(&path).unwrap();
        assert!(text.ends_with(done(3).as_bytes()));
    }

    #[test]
    fn what_a_crash_left_twice_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let [carried, aside, path] = FILES.map(|name| dir.path().join(name));
        fs::write(&aside, done(2) + &done(3)).unwrap();
        let contains = Contains::of(&fs::metadata(&aside).unwrap());
        let contains = serde_json::to_string(&contains).unwrap();
        fs::write(&carried, format!("{contains}\n{}{}", done(1), done(3))).unwrap();
        fs::write(&path, done(4)).unwrap();
        assert_eq!(ids(dir.path()), [1, 3, 4]);
        // The next one that is put aside is another.
        fs::rename(&path, &aside).unwrap();
        assert_eq!(ids(dir.path()), [1, 3, 4]);
        fs::write(&path, done(5)).unwrap();
        assert_eq!(ids(dir.path()), [1, 3, 4, 5]);
    }

    #[test]
    fn lines_that_are_left_out_are_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let out = append(&dir.path().join(NAME)).unwrap();
        let dir = dir.path().to_owned();
        let mut files = Files { dir, out };
        files.write(Entry::LeftOut(3));
        let [Line::Note { text, .. }] = &Journal::read(&files.dir).unwrap()[..] else {
            panic!("no note");
        };
        assert!(text.starts_with("3 lines "), "{text}");
    }

    #[test]
    fn what_can_not_be_carried_over_is_not_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let [carried, aside, path] = FILES.map(|name| dir.path().join(name));
        fs::write(&aside, done(1)).unwrap();
        // A directory can't be written over.
        fs::create_dir_all(carried.with_extension("new").join("x")).unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        journal.write(&Line::Done { id: 2 });
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(MAX_LEN).unwrap();
        journal.write(&Line::Done { id: 3 });
        assert_eq!(fs::read(&aside).unwrap(), done(1).as_bytes());
        // But that has an end.
        file.set_len(2 * MAX_LEN).unwrap();
        journal.write(&Line::Done { id: 4 });
        assert_ne!(fs::read(&aside).unwrap(), done(1).as_bytes());
        assert_eq!(fs::read(&path).unwrap(), done(4).as_bytes());
    }
}
