// SPDX-License-Identifier: GPL-2.0

//! A module that is being recorded: its relay files on one side, its trace on
//! the other.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use vesper_abi::packet::MAX_PACKET;
use vesper_ctf::metadata::Metadata;
use vesper_ctf::rewrite::{rewrite, ClockBlock};
use vesper_ctf::stream::{Packet, PacketStream};
use vesper_ctf::tsdl;

use super::check::{self, Found};
use super::error::RecordError;
use super::origin::Origin;
use super::place::{self, file_error, Places, METADATA};
use super::stream::{StreamFile, Totals};
use crate::error::{Error, Result};
use crate::relay::{ModuleFiles, RelayFile};
use crate::sys;

/// Room for a packet where nobody says how long it can be.
const DEFAULT_ROOM: u64 = 256 << 10;
/// Taken from a file before the others have their turn.
const BATCH: usize = 1 << 20;
/// How often metadata is read again because it grew meanwhile.
const TRIES: usize = 10;
/// Between two looks at the metadata for events that they do not describe.
const REFRESH: Duration = Duration::from_millis(200);
/// Where packets go that a reader of the trace could not take.
const REJECTED: &str = "rejected";
/// Where the files of channels go that the metadata say nothing of.
const RAW: &str = "raw";

/// The description of a module's packets.
struct Description {
    /// Kept open: the text can be read as long as it is, wherever the directory
    /// is by then.
    file: File,
    text: Vec<u8>,
    metadata: Metadata,
    /// As last written.
    written: Vec<u8>,
    /// Bytes of a longer text that can't be used.
    refused: usize,
    /// When events that are not described had it looked at.
    refreshed: Option<Instant>,
}

/// A relay file and the file in the trace.
struct Stream {
    packets: Option<PacketStream>,
    /// Most bytes of a packet. So many more are reserved than are read: what a read
    /// has begun can always be read to its end, and written.
    room: u64,
    out: StreamFile,
}

/// A module that is being recorded.
pub(super) struct Source {
    /// Domain and module, for people.
    pub(super) name: String,
    /// Device and inode of its directory, whatever that is called by now.
    pub(super) identity: (u64, u64),
    /// Where the trace is.
    pub(super) place: PathBuf,
    /// Whose records they are.
    pub(super) origin: Origin,
    /// Something was read since the metadata were looked at.
    pub(super) stale_since: Option<Instant>,
    /// Why nothing more is to be taken from it.
    pub(super) failed: Option<Box<Error>>,
    description: Option<Description>,
    /// The last time that a packet can have.
    last_cycle: u64,
    files: ModuleFiles,
    streams: Vec<Stream>,
    /// The trace was begun by another, who has counted what was there.
    goes_on: bool,
}

impl Source {
    /// Takes up a module's directory; the trace goes to one of `places`. `None` if one of
    /// `writers`, which are names and places, has to end first.
    pub(super) fn open(
        dir: &Path,
        domain: &str,
        module: &str,
        places: &mut Places,
        writers: &[(&str, &Path)],
        origin: impl FnOnce(Option<&Metadata>) -> Origin,
    ) -> Result<Option<Self>> {
        let its = |error| its_own(file_error(dir)(error));
        let files = ModuleFiles::open_dir(dir).map_err(its)?;
        let identity = files.identity().map_err(its)?;
        let description = match File::open(files.metadata_path()) {
            Ok(file) => Some(Description::read(file, dir, domain, module)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(its_own(files.metadata_error(error))),
        };
        let metadata = description.as_ref().map(|d| &d.metadata);
        let uuid = metadata.and_then(|metadata| metadata.uuid);
        let boot = metadata.and_then(|metadata| metadata.env_text("boot_id"));
        let boot = String::from_utf8_lossy(boot.unwrap_or_default());
        let origin = origin(metadata);
        let last_cycle = match (metadata, origin.guess()) {
            (Some(metadata), Some(block)) => {
                let last = check::last_cycle(metadata, &block.clock);
                last.ok_or_else(|| RecordError::Clock(format!("{domain}/{module}")))?
            }
            _ => u64::MAX,
        };
        let place = places.choose(domain, module, uuid.as_ref(), &boot, writers)?;
        let Some(place) = place else {
            return Ok(None);
        };
        let mut source = Self {
            name: format!("{domain}/{module}"),
            identity,
            place,
            origin,
            stale_since: None,
            failed: None,
            files,
            description,
            last_cycle,
            streams: Vec::new(),
            goes_on: false,
        };
        // Before anything is taken from the host.
        source.write_metadata(source.origin.guess())?;
        source.find_streams()?;
        Ok(Some(source))
    }

    /// Says that what is in the trace by now has been counted before.
    pub(super) fn set_goes_on(&mut self) {
        self.goes_on = true;
        for stream in &mut self.streams {
            stream.out.set_counted();
        }
    }

    /// Opens the files of CPUs that have come.
    pub(super) fn find_streams(&mut self) -> Result<()> {
        let scanned = self.files.rescan().map_err(its_own);
        // Also for those that were opened before one that can't be.
        while let Some(file) = self.files.list().get(self.streams.len()) {
            let stream = self.open_stream(file)?;
            self.streams.push(stream);
        }
        scanned
    }

    fn open_stream(&self, file: &RelayFile) -> Result<Stream> {
        let metadata = self.description.as_ref().map(|d| &d.metadata);
        let channel = metadata.and_then(|metadata| metadata.env_text("channel"));
        let described = metadata.is_some()
            && channel.is_none_or(|channel| channel == file.channel().as_bytes());
        let uuid = metadata.and_then(|metadata| metadata.uuid);
        let (dir, uuid) = match (described, metadata) {
            (true, _) => (self.place.clone(), uuid),
            (false, None) => (self.place.clone(), None),
            (false, Some(_)) => (self.place.join(RAW), None),
        };
        fs::create_dir_all(&dir).map_err(file_error(&dir))?;
        let mut out = StreamFile::open(&dir.join(file.name()), uuid.as_ref())?;
        if file.is_untouched() {
            out.set_from_start();
        }
        if self.goes_on {
            out.set_counted();
        }
        let room = file.packet_room();
        let packets = described.then(|| {
            let mut packets = PacketStream::new(uuid);
            // No packet is longer than a sub-buffer.
            if let Some(room) = room {
                packets.set_room(usize::try_from(room).unwrap_or(usize::MAX));
            }
            packets
        });
        Ok(Stream {
            out,
            room: room.unwrap_or(DEFAULT_ROOM),
            packets,
        })
    }

    /// The relay files that there is something to be had from, and a file for it.
    pub(super) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        let written = self.streams.len();
        self.files
            .live()
            .take_while(move |&number| number < written)
    }

    /// The relay files.
    pub(super) fn files(&self) -> &ModuleFiles {
        &self.files
    }

    /// What poll() found at a relay file.
    pub(super) fn note(&mut self, number: usize, events: PollFlags) {
        self.files.note(number, events);
    }

    /// Reads once and writes what that gives; how many bytes there were.
    fn take(&mut self, number: usize, buffer: &mut [u8]) -> Result<usize> {
        let stream = &mut self.streams[number];
        let pending = stream.packets.as_ref().map_or(0, PacketStream::pending);
        let bytes = (pending + buffer.len()) as u64;
        // What completes a packet has its room already.
        let completes = stream
            .packets
            .as_ref()
            .is_some_and(|packets| packets.wanting() >= buffer.len());
        let ahead = if completes { 0 } else { stream.room };
        stream.out.reserve(bytes + ahead)?;
        let len = self.files.read(number, buffer).map_err(its_own)?;
        if len > 0 {
            self.write(number, &buffer[..len])?;
            self.stale_since.get_or_insert_with(Instant::now);
        }
        Ok(len)
    }

    /// Takes what a file has, and writes it; says how many bytes there were.
    pub(super) fn drain(&mut self, number: usize, buffer: &mut [u8]) -> Result<usize> {
        let mut taken = 0;
        let mut at_end = false;
        while taken < BATCH {
            let len = self.take(number, buffer)?;
            taken += len;
            if len > 0 {
                continue;
            }
            if at_end {
                self.tell_lost(number)?;
                self.files.close(number);
                self.streams[number].out.trim();
            }
            // It may have got its last bytes between the two questions.
            at_end = !at_end && self.files.is_drained(number);
            if !at_end {
                break;
            }
        }
        Ok(taken)
    }

    fn write(&mut self, number: usize, bytes: &[u8]) -> Result<()> {
        let stream = &mut self.streams[number];
        let Some(packets) = &mut stream.packets else {
            return stream.out.append_raw(bytes);
        };
        packets.push(bytes);
        let (mut whole, mut rejected): (Vec<Packet>, Vec<Packet>) = Default::default();
        while let Some(packet) = packets.next_packet() {
            match packet {
                Ok(packet)
                    if packet.head.tsc_end <= self.last_cycle
                        && stream.out.fits(whole.last(), &packet)
                        && self
                            .description
                            .as_mut()
                            .is_none_or(|d| d.describes(&packet)) =>
                {
                    whole.push(packet)
                }
                Ok(packet) => rejected.push(packet),
                Err(_) => stream.out.count_malformed(),
            }
        }
        stream.out.append(&whole)?;
        if !rejected.is_empty() {
            let dir = self.place.join(REJECTED);
            fs::create_dir_all(&dir).map_err(file_error(&dir))?;
            let mut aside = StreamFile::open(&dir.join(self.files.list()[number].name()), None)?;
            for packet in &rejected {
                aside.append_raw(&packet.bytes)?;
                stream.out.count_malformed();
            }
        }
        Ok(())
    }

    /// Puts into the trace what was lost behind its last packet.
    fn tell_lost(&mut self, number: usize) -> Result<()> {
        let file = &self.files.list()[number];
        let stream = &mut self.streams[number];
        let uuid = self.description.as_ref().and_then(|d| d.metadata.uuid);
        if let Some(packets) = &mut stream.packets {
            if packets.finish().is_some() {
                stream.out.count_malformed();
            }
            if let (Some(lost), Some(uuid)) = (file.lost(), uuid) {
                stream.out.finish(&uuid, file.cpu(), lost)?;
            }
        }
        Ok(())
    }

    /// Whether all that there will be is in the trace.
    pub(super) fn is_over(&self) -> bool {
        self.files.all_ended()
    }

    /// Takes what has been closed by now, before it is over.
    pub(super) fn stop(&mut self, buffer: &mut [u8]) -> Result<()> {
        let numbers: Vec<usize> = self.live().collect();
        for number in numbers {
            let mut taken = 0;
            // A busy guest would have it go on for ever: one lap, and whole packets.
            while taken < MAX_PACKET {
                match self.drain(number, buffer)? {
                    0 => break,
                    len => taken += len,
                }
            }
            self.complete(number, buffer)?;
            if !self.files.list()[number].is_closed() {
                self.tell_lost(number)?;
            }
        }
        Ok(())
    }

    /// Takes the rest of a packet of which the beginning has been taken.
    fn complete(&mut self, number: usize, buffer: &mut [u8]) -> Result<()> {
        let wanting = |source: &Self| {
            let packets = source.streams[number].packets.as_ref();
            packets.map_or(0, PacketStream::wanting)
        };
        while wanting(self) > 0 {
            let len = wanting(self).min(buffer.len());
            if self.take(number, &mut buffer[..len])? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The same for each file, when no more than that can be taken.
    pub(super) fn complete_all(&mut self, buffer: &mut [u8]) -> Result<()> {
        let numbers: Vec<usize> = self.live().collect();
        let completed = numbers
            .into_iter()
            .map(|number| self.complete(number, buffer));
        completed.fold(Ok(()), Result::and)
    }

    /// Gives back what has been reserved on the disk and was not needed.
    pub(super) fn trim(&mut self) {
        for stream in &mut self.streams {
            stream.out.trim();
        }
    }

    /// Looks whether the metadata have grown, and writes them if they are not as
    /// last written.
    pub(super) fn refresh(&mut self, clock: Option<ClockBlock>) -> Result<()> {
        self.stale_since = None;
        if let Some(description) = &mut self.description {
            description.refresh();
        }
        self.write_metadata(clock)
    }

    fn write_metadata(&mut self, clock: Option<ClockBlock>) -> Result<()> {
        let Some(description) = &mut self.description else {
            return Ok(());
        };
        let env = self.origin.environment();
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let text = rewrite(&description.text, &env, clock.as_ref());
        let text = text.map_err(|error| Error::Metadata {
            target: self.name.clone(),
            error,
        })?;
        if text != description.written {
            place::write_metadata(&self.place, &text)?;
            description.written = text;
        }
        Ok(())
    }

    /// What has been recorded.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stream in &self.streams {
            totals += stream.out.totals();
        }
        totals
    }
}

impl Description {
    fn read(file: File, dir: &Path, domain: &str, module: &str) -> Result<Self> {
        let path = dir.join(METADATA);
        let target = format!("{domain}/{module}");
        let text = whole(&file).map_err(|error| its_own(file_error(&path)(error)))?;
        let Some(text) = text else {
            return Err(RecordError::Growing(target).into());
        };
        if text.trim_ascii().is_empty() {
            return Err(Error::NoMetadata(target));
        }
        let metadata = tsdl::parse(&text).map_err(|error| Error::Metadata { target, error })?;
        Ok(Self {
            file,
            text,
            metadata,
            written: Vec::new(),
            refused: 0,
            refreshed: None,
        })
    }

    /// Whether the events of a packet are as the text says, by now.
    fn describes(&mut self, packet: &Packet) -> bool {
        let mut found = check::packet(&self.metadata, packet);
        if found == Found::Unknown && self.refreshed.is_none_or(|at| at.elapsed() >= REFRESH) {
            self.refresh();
            self.refreshed = Some(Instant::now());
            found = check::packet(&self.metadata, packet);
        }
        found == Found::Good
    }

    /// Reads the text again if it has grown. What can't be used changes nothing.
    fn refresh(&mut self) {
        // One byte behind what is known: there is none as long as it is all.
        let known = self.text.len().max(self.refused);
        let grown = self.file.read_at(&mut [0], known as u64);
        if !grown.is_ok_and(|len| len > 0) {
            return;
        }
        let Ok(Some(text)) = whole(&self.file) else {
            return;
        };
        match tsdl::parse(&text) {
            Ok(metadata) if metadata.extends(&self.metadata) => {
                self.text = text;
                self.metadata = metadata;
            }
            _ => self.refused = text.len(),
        }
    }
}

/// An error of the module's own files.
fn its_own(error: Error) -> Error {
    RecordError::Source(Box::new(error)).into()
}

/// The text as it is at one moment: it can grow in its middle while it is read,
/// so it is read until it comes out the same twice. `None` if it does not.
fn whole(file: &File) -> io::Result<Option<Vec<u8>>> {
    let read = || {
        let mut text = Vec::new();
        let mut reader = At(file, 0);
        reader
            .by_ref()
            .take(tsdl::MAX_TEXT as u64 + 1)
            .read_to_end(&mut text)?;
        io::Result::Ok(text)
    };
    let mut text = read()?;
    for _ in 0..TRIES {
        let again = read()?;
        if again == text {
            return Ok(Some(text));
        }
        text = again;
    }
    Ok(None)
}

/// Reads from the beginning without moving the file's position.
struct At<'a>(&'a File, u64);

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read_at(buffer, self.1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted && !sys::interrupted() => {
                }
                Ok(len) => {
                    self.1 += len as u64;
                    return Ok(len);
                }
                result => return result,
            }
        }
    }
}
