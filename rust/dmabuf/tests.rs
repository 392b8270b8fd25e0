// SPDX-License-Identifier: GPL-2.0

//! Tests of exporting, with an importer whose device is none but does DMA as the kernel sees it.

use super::*;
use crate::mm::{
    migrate::Migration,
    node_online,
    pages::Placement,
    shown::Shown,
    space::Space, //
};
use kernel::{
    error::to_result,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    ThisModule, //
};

/// No module: nobody unloads what runs its tests.
struct NoModule;

impl ModuleMetadata for NoModule {
    const NAME: &'static CStr = c"none";
    const THIS_MODULE: ThisModule = {
        // SAFETY: that of code which is not in a module.
        unsafe { ThisModule::from_ptr(ptr::null_mut()) }
    };
}

/// What is exported, and whether it lives.
struct Object {
    pages: Arc<Pages>,
    lives: Arc<Atomic<i32>>,
}

impl Mappable for Object {
    fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }
}

impl Exported for Object {
    type Module = NoModule;
    const NAME: &'static CStr = c"dmakit-test";
}

impl Drop for Object {
    fn drop(&mut self) {
        self.lives.add(-1, Relaxed);
    }
}

const PAGES: usize = 530;

/// As the ABI of the kernel has them.
const BOTH: i32 = 0;
const READS: i32 = 1;
const WRITES: i32 = 2;

struct Exports {
    pages: Arc<Pages>,
    lives: Arc<Atomic<i32>>,
    object: Arc<Object>,
}

fn exports() -> Result<Exports> {
    let node = (0..64).find(|node| node_online(*node)).ok_or(ENODEV)?;
    let pages = Pages::new(PAGES, Placement::Strict(node))?;
    let lives = Arc::new(Atomic::new(1), GFP_KERNEL)?;
    let object = Object {
        pages: pages.clone(),
        lives: lives.clone(),
    };
    Ok(Exports {
        pages,
        lives,
        object: Arc::new(object, GFP_KERNEL)?,
    })
}

/// An importer, ended when dropped.
struct Importer(NonNull<bindings::dk_importer>);

impl Importer {
    fn new(file: &File, longest: u32, dma: bool) -> Result<Self> {
        Self::of(file, longest, dma, false)
    }

    /// One whose device has its own copy of what it has mapped.
    fn bounced(file: &File) -> Result<Self> {
        Self::of(file, u32::MAX, true, true)
    }

    fn of(file: &File, longest: u32, dma: bool, bounced: bool) -> Result<Self> {
        // SAFETY: it is the file of a dma-buf, and held.
        let raw = unsafe { bindings::dk_importer_new(file.as_ptr(), longest, dma, bounced) };
        NonNull::new(raw).map(Self).ok_or(ENODEV)
    }

    fn map(&self, direction: i32) -> Result {
        // SAFETY: it lives.
        to_result(unsafe { bindings::dk_importer_map(self.0.as_ptr(), direction) })
    }

    fn unmap(&self) {
        // SAFETY: it lives.
        unsafe { bindings::dk_importer_unmap(self.0.as_ptr()) };
    }

    /// In how many pieces it sees these pages; it has mapped some.
    fn pieces(&self, pinned: &Pinned, part: Range<usize>) -> u32 {
        let pages = pinned.as_ptrs().get(part).unwrap_or(&[]);
        // SAFETY: it lives, and has a table; the array is as long as is said.
        unsafe { bindings::dk_importer_pieces(self.0.as_ptr(), pages.as_ptr(), pages.len() as u32) }
    }

    fn begin(&self, direction: i32) -> Result {
        // SAFETY: it lives.
        to_result(unsafe { bindings::dk_importer_begin(self.0.as_ptr(), direction) })
    }

    fn done(&self, direction: i32) -> Result {
        // SAFETY: it lives.
        to_result(unsafe { bindings::dk_importer_done(self.0.as_ptr(), direction) })
    }

    fn sync(&self, direction: i32) -> Result {
        self.begin(direction)?;
        self.done(direction)
    }

    fn byte(&self, offset: usize) -> Result<NonNull<u8>> {
        // SAFETY: it lives, and has a table.
        NonNull::new(unsafe { bindings::dk_importer_byte(self.0.as_ptr(), offset) }).ok_or(EFAULT)
    }

    /// What its device reads.
    fn reads(&self, offset: usize) -> Result<u8> {
        // SAFETY: it is mapped for the device, and so for as long as this takes.
        Ok(unsafe { self.byte(offset)?.as_ptr().read_volatile() })
    }

    /// Its device writes.
    fn writes(&self, offset: usize, value: u8) -> Result {
        // SAFETY: as above.
        unsafe { self.byte(offset)?.as_ptr().write_volatile(value) };
        Ok(())
    }

    fn vmap(&self) -> Option<NonNull<u8>> {
        // SAFETY: it lives.
        NonNull::new(unsafe { bindings::dk_importer_vmap(self.0.as_ptr()) }.cast())
    }

    fn vunmap(&self) {
        // SAFETY: it lives, and has such a mapping.
        unsafe { bindings::dk_importer_vunmap(self.0.as_ptr()) };
    }
}

impl Drop for Importer {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { bindings::dk_importer_end(self.0.as_ptr()) };
    }
}

/// Moves them to where they are.
fn move_all(pages: &Pages) -> Result<usize> {
    let mut counts = [0; 64];
    pages.count_nodes(&mut counts)?;
    let node = (0..).zip(counts).find(|(_, count)| *count > 0);
    let (node, _) = node.ok_or(ENODEV)?;
    let mut migration = Migration::new(node, false);
    let shown = Shown::nowhere()?;
    shown.add(&Space::new()?, 0)?;
    while migration.step(pages, &shown)? {}
    Ok(migration.moved())
}

fn byte(pages: &Pages, offset: usize) -> Result<u8> {
    let mut byte = [0u8];
    pages.read(offset as u64, &mut byte)?;
    let [byte] = byte;
    Ok(byte)
}

fn flush() {
    // SAFETY: called in process context.
    unsafe { bindings::dk_flush_files() };
}

#[kunit_tests(dmakit_dmabuf)]
mod suite {
    use super::*;

    #[test]
    fn mapped_for_devices() -> Result {
        let e = exports()?;
        let pinned = Pages::pin(&e.pages);
        let parts = [0..PAGES, 0..1, 9..10, 500..520, PAGES - 1..PAGES];
        for part in parts {
            let file = file_of(e.object.clone(), part.clone(), true)?;
            let (one, other) = (
                Importer::new(&file, u32::MAX, true)?,
                Importer::new(&file, PAGE_SIZE as u32, true)?,
            );
            for direction in [BOTH, READS, WRITES] {
                one.map(direction)?;
                other.map(BOTH)?;
                assert!(one.pieces(&pinned, part.clone()) > 0);
                // One for each page.
                assert_eq!(other.pieces(&pinned, part.clone()), part.len() as u32);
                for touched in [BOTH, READS, WRITES] {
                    one.sync(touched)?;
                }
                one.unmap();
                other.sync(BOTH)?;
                other.unmap();
                one.sync(BOTH)?;
            }
        }
        Ok(())
    }

    #[test]
    fn again_and_again() -> Result {
        let e = exports()?;
        let file = file_of(e.object.clone(), 0..PAGES, true)?;
        for round in 0..60u32 {
            let pinned = Pages::pin(&e.pages);
            let mut importers = KVec::new();
            for longest in [1, 1 + round % 3, 16, 512] {
                let importer = Importer::new(&file, longest * PAGE_SIZE as u32, true)?;
                importer.map(BOTH)?;
                importers.push(importer, GFP_KERNEL)?;
            }
            for importer in &importers {
                assert!(importer.pieces(&pinned, 0..PAGES) > 0);
            }
            drop(pinned);
            assert_eq!(move_all(&e.pages), Err(EBUSY));
            while let Some(importer) = importers.pop() {
                importer.unmap();
            }
            assert_eq!(move_all(&e.pages), Ok(0));
        }
        Ok(())
    }

    #[test]
    fn pieces_as_long_as_devices_take() -> Result {
        let e = exports()?;
        let pinned = Pages::pin(&e.pages);
        let file = file_of(e.object.clone(), 0..PAGES, true)?;
        let mut last = u32::MAX;
        for longest in [1, 2, 16, 1 << 19] {
            let importer = Importer::new(&file, longest * PAGE_SIZE as u32, true)?;
            importer.map(BOTH)?;
            let pieces = importer.pieces(&pinned, 0..PAGES);
            assert!(pieces > 0 && pieces <= last);
            assert!(pieces as usize >= PAGES.div_ceil(longest as usize));
            last = pieces;
        }
        Ok(())
    }

    /// Of a device that sees copies: each must be made when it is due, and not when it is not.
    #[test]
    fn synced_when_it_should_be() -> Result {
        let e = exports()?;
        let (part, at) = (2..6, 2 * PAGE_SIZE);
        let (last, length) = (3 * PAGE_SIZE + 5, 4 * PAGE_SIZE);
        let file = file_of(e.object.clone(), part, true)?;
        let device = Importer::bounced(&file)?;
        e.pages.fill(at as u64, 0x11, length)?;
        device.map(BOTH)?;
        assert_eq!(device.reads(0), Ok(0x11));
        assert_eq!(device.reads(last), Ok(0x11));
        // To the CPU, when that begins.
        device.writes(last, 0x22)?;
        assert_eq!(byte(&e.pages, at + last), Ok(0x11));
        device.begin(WRITES)?;
        assert_eq!(byte(&e.pages, at + last), Ok(0x22));
        // Not to the device, as the CPU has only read.
        device.writes(last, 0x33)?;
        device.done(WRITES)?;
        assert_eq!(device.reads(last), Ok(0x33));
        // To the device, when the CPU has written. Nothing is lost of what the device wrote before.
        device.begin(READS)?;
        e.pages.fill((at + 7) as u64, 0x44, 1)?;
        assert_eq!(device.reads(7), Ok(0x11));
        device.done(READS)?;
        assert_eq!(device.reads(7), Ok(0x44));
        assert_eq!(device.reads(last), Ok(0x33));
        // To the CPU at last.
        device.writes(0, 0x55)?;
        assert_eq!(byte(&e.pages, at), Ok(0x11));
        device.unmap();
        assert_eq!(byte(&e.pages, at), Ok(0x55));
        assert_eq!(byte(&e.pages, at + last), Ok(0x33));
        Ok(())
    }

    /// What devices may do in one direction only.
    #[test]
    fn synced_one_way() -> Result {
        let e = exports()?;
        let file = file_of(e.object.clone(), 0..2, true)?;
        let device = Importer::bounced(&file)?;
        e.pages.fill(0, 0x11, 2 * PAGE_SIZE)?;
        // One that writes need not write all of it.
        device.map(WRITES)?;
        device.writes(3, 0x22)?;
        device.begin(WRITES)?;
        assert_eq!(byte(&e.pages, 3), Ok(0x22));
        assert_eq!(byte(&e.pages, 4), Ok(0x11));
        device.done(WRITES)?;
        device.writes(PAGE_SIZE, 0x33)?;
        device.unmap();
        assert_eq!(byte(&e.pages, PAGE_SIZE), Ok(0x33));
        assert_eq!(byte(&e.pages, PAGE_SIZE + 1), Ok(0x11));
        // Of one that reads, nothing comes back.
        device.map(READS)?;
        assert_eq!(device.reads(3), Ok(0x22));
        e.pages.fill(3, 0x44, 1)?;
        device.sync(READS)?;
        assert_eq!(device.reads(3), Ok(0x44));
        device.writes(3, 0x55)?;
        device.sync(WRITES)?;
        device.unmap();
        assert_eq!(byte(&e.pages, 3), Ok(0x44));
        Ok(())
    }

    /// Two devices that have it mapped see what the CPU wrote.
    #[test]
    fn synced_to_all() -> Result {
        let e = exports()?;
        let file = file_of(e.object.clone(), 0..1, true)?;
        let (writer, reader) = (Importer::bounced(&file)?, Importer::bounced(&file)?);
        writer.map(BOTH)?;
        reader.map(READS)?;
        writer.writes(9, 0x66)?;
        assert_eq!(reader.reads(9), Ok(0));
        // By way of the CPU.
        reader.begin(BOTH)?;
        assert_eq!(byte(&e.pages, 9), Ok(0x66));
        reader.done(BOTH)?;
        assert_eq!(reader.reads(9), Ok(0x66));
        Ok(())
    }

    #[test]
    fn no_device_for_dma() -> Result {
        let e = exports()?;
        let file = file_of(e.object.clone(), 0..PAGES, true)?;
        let importer = Importer::new(&file, u32::MAX, false)?;
        assert!(importer
            .map(BOTH)
            .is_err_and(|error| error == crate::errno::EOPNOTSUPP));
        importer.sync(BOTH)?;
        assert_eq!(move_all(&e.pages), Ok(0));
        Ok(())
    }

    #[test]
    fn stays_while_it_is_mapped() -> Result {
        let e = exports()?;
        let file = file_of(e.object.clone(), 3..4, true)?;
        let (one, other) = (
            Importer::new(&file, u32::MAX, true)?,
            Importer::new(&file, u32::MAX, true)?,
        );
        assert_eq!(move_all(&e.pages), Ok(0));
        one.map(READS)?;
        assert_eq!(move_all(&e.pages), Err(EBUSY));
        other.map(READS)?;
        one.unmap();
        assert_eq!(move_all(&e.pages), Err(EBUSY));
        other.unmap();
        assert_eq!(move_all(&e.pages), Ok(0));
        assert!(one.vmap().is_some());
        assert_eq!(move_all(&e.pages), Err(EBUSY));
        one.vunmap();
        assert_eq!(move_all(&e.pages), Ok(0));
        Ok(())
    }

    #[test]
    fn shown_to_the_kernel() -> Result {
        let e = exports()?;
        let part = 510..515;
        let file = file_of(e.object.clone(), part.clone(), true)?;
        let (one, other) = (
            Importer::new(&file, u32::MAX, true)?,
            Importer::new(&file, u32::MAX, true)?,
        );
        for page in part.clone() {
            e.pages
                .fill((page * PAGE_SIZE) as u64, page as u8, PAGE_SIZE)?;
        }
        let base = one.vmap().ok_or(ENOMEM)?;
        assert!(other.vmap() == Some(base));
        one.vunmap();
        for (at, page) in part.clone().enumerate() {
            // SAFETY: `other` has as many pages mapped there.
            let first = unsafe { base.as_ptr().add(at * PAGE_SIZE).read_volatile() };
            assert_eq!(first, page as u8);
        }
        // SAFETY: as above.
        unsafe { base.as_ptr().add(2 * PAGE_SIZE).write_volatile(0xee) };
        let mut byte = [0u8];
        e.pages.read(512 * PAGE_SIZE as u64, &mut byte)?;
        assert_eq!(byte, [0xee]);
        other.vunmap();
        assert!(one.vmap().is_some());
        one.vunmap();
        Ok(())
    }

    #[test]
    fn only_read_if_so_exported() -> Result {
        let e = exports()?;
        let file = file_of(e.object.clone(), 0..PAGES, false)?;
        let importer = Importer::new(&file, u32::MAX, true)?;
        assert_eq!(importer.map(BOTH), Err(EACCES));
        assert_eq!(importer.map(WRITES), Err(EACCES));
        assert!(importer.vmap().is_none());
        assert_eq!(move_all(&e.pages), Ok(0));
        importer.map(READS)?;
        importer.sync(BOTH)?;
        Ok(())
    }

    #[test]
    fn parts_that_there_are() -> Result {
        let e = exports()?;
        for part in [0..0, 7..7, 0..PAGES + 1, PAGES..PAGES + 1, 5..usize::MAX] {
            assert_eq!(file_of(e.object.clone(), part, true).err(), Some(ERANGE));
        }
        Ok(())
    }

    #[test]
    fn held_by_files_and_importers() -> Result {
        let Exports {
            pages,
            lives,
            object,
        } = exports()?;
        pages.fill(0, 0x5a, PAGES * PAGE_SIZE)?;
        drop(pages);
        let file = file_of(object.clone(), 0..PAGES, true)?;
        let other = file_of(object, 0..1, false)?;
        let importer = Importer::new(&file, u32::MAX, true)?;
        importer.map(BOTH)?;
        drop(file);
        flush();
        drop(other);
        flush();
        assert_eq!(lives.load(Relaxed), 1);
        let base = importer.vmap().ok_or(ENOMEM)?;
        // SAFETY: that much is mapped.
        let last = unsafe { base.as_ptr().add(PAGES * PAGE_SIZE - 1).read_volatile() };
        assert_eq!(last, 0x5a);
        importer.vunmap();
        drop(importer);
        flush();
        assert_eq!(lives.load(Relaxed), 0);
        Ok(())
    }
}
