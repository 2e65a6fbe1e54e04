// SPDX-License-Identifier: GPL-2.0

//! What the guest itself can see of a channel: `/sys/kernel/debug/vesper_guest/<module>/<channel>/`.
//!
//! `stats` has the guest's own counts, a line for each CPU, obtained apart from what the host
//! reads. `metadata` is the text as the host has it. `buffer<cpu>` and `index<cpu>` are the lent
//! memory as it stands; reading consumes nothing.

use super::{
    channel::Channel,
    registry,
    store::{
        self,
        Store,
        SECTION_EVENTS, //
    },
};
use crate::listener::Source;
use kernel::{
    cpu,
    debugfs::{
        BinaryWriter,
        Scope,
        Writer, //
    },
    fmt,
    fs::file,
    page::PAGE_SIZE,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::Arc,
    uaccess::UserSliceWriter, //
};

/// The files of a channel. Dropping it removes them, and waits for those who read.
pub(crate) struct Files {
    _dir: Pin<KBox<Scope<Contents>>>,
}

struct Contents {
    stats: Stats,
    metadata: Metadata,
    memory: KVec<(Memory, Memory)>,
}

impl Files {
    /// Makes the files.
    pub(crate) fn new(channel: &Arc<Channel>) -> Result<Self> {
        let description = channel.store().description();
        let parent = registry::dir(&description.module)?;
        let name = bstr(&description.channel)?;
        let mut memory = KVec::new();
        for cpu in 0..cpu::nr_cpu_ids() {
            let part = |part| Memory {
                store: channel.store().clone(),
                cpu,
                part,
            };
            memory.push((part(Part::Buffer), part(Part::Index)), GFP_KERNEL)?;
        }
        let contents = Contents {
            stats: Stats(channel.clone()),
            metadata: Metadata(channel.store().clone()),
            memory,
        };
        let dir = parent.scope(contents, &name, |contents, dir| {
            dir.read_only_file(c"stats", &contents.stats);
            dir.read_binary_file(c"metadata", &contents.metadata);
            for (buffer, index) in &contents.memory {
                for (memory, base) in [(buffer, "buffer"), (index, "index")] {
                    if let Ok(name) = CString::try_from_fmt(fmt!("{base}{}", memory.cpu)) {
                        dir.read_binary_file(&name, memory);
                    }
                }
            }
        });
        Ok(Self {
            _dir: KBox::pin_init(dir, GFP_KERNEL)?,
        })
    }
}

fn bstr(field: &[u8; crate::abi::NAME_LEN]) -> Result<CString> {
    CString::try_from_fmt(fmt!("{}", BStr::from_bytes(store::name(field))))
}

struct Stats(Arc<Channel>);

impl Writer for Stats {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cpu written lost nested too_big produced consumed")?;
        for (cpu, lane) in (0u32..).zip(self.0.lanes()) {
            let Some(buffer) = self.0.store().get(cpu) else {
                continue;
            };
            let counts = &lane.counts;
            writeln!(
                f,
                "{cpu} {} {} {} {} {} {}",
                counts.written.get(),
                counts.lost.get(),
                counts.nested.get(),
                counts.too_big.get(),
                counts.switched.get(),
                buffer.index.consumed(),
            )?;
        }
        Ok(())
    }
}

/// Copies through a page from where `copy` has it to where user space wants it.
fn read(
    writer: &mut UserSliceWriter,
    offset: &mut file::Offset,
    mut copy: impl FnMut(usize, &mut [u8]) -> usize,
) -> Result<usize> {
    let mut page = KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?;
    let mut done = 0usize;
    while !writer.is_empty() {
        let at = usize::try_from(*offset)?;
        let want = writer.len().min(PAGE_SIZE);
        let got = copy(at, page.get_mut(..want).ok_or(EINVAL)?);
        if got == 0 {
            break;
        }
        writer.write_slice(page.get(..got).ok_or(EINVAL)?)?;
        *offset = offset.wrapping_add(got as file::Offset);
        done = done.wrapping_add(got);
    }
    Ok(done)
}

struct Metadata(Arc<Store>);

impl BinaryWriter for Metadata {
    fn write_to_slice(
        &self,
        writer: &mut UserSliceWriter,
        offset: &mut file::Offset,
    ) -> Result<usize> {
        read(writer, offset, |mut at, to| {
            // A section that grows moves those behind it, which only a reader who reads in pieces
            // meanwhile can see.
            for section in 0..=SECTION_EVENTS {
                let got = self.0.metadata(section, at, to);
                if got != 0 {
                    return got;
                }
                at = at.saturating_sub(self.0.metadata_len(section));
            }
            0
        })
    }
}

enum Part {
    Buffer,
    Index,
}

struct Memory {
    store: Arc<Store>,
    cpu: u32,
    part: Part,
}

impl BinaryWriter for Memory {
    fn write_to_slice(
        &self,
        writer: &mut UserSliceWriter,
        offset: &mut file::Offset,
    ) -> Result<usize> {
        let Some(buffer) = self.store.get(self.cpu) else {
            return Ok(0);
        };
        read(writer, offset, |at, to| match self.part {
            Part::Buffer => buffer.view.copy(at, to),
            Part::Index => buffer.index.copy(at, to),
        })
    }
}
