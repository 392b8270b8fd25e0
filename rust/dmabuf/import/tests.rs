// SPDX-License-Identifier: GPL-2.0

//! Tests of importing, from an exporter that does what it is told to.

use super::*;
use crate::mm::pages::Pages;
use kernel::sync::Arc;

/// One, with one reference to its dma-buf, which a [`Foreign`] may take over.
struct Exporter {
    raw: NonNull<bindings::dk_exporter>,
    taken: bool,
}

impl Exporter {
    fn new(shows: bindings::dk_shows) -> Result<Self> {
        Self::that_says(shows, 0, 0)
    }

    /// One whose `attach` and `pin` return that.
    fn that_says(shows: bindings::dk_shows, attach: i32, pin: i32) -> Result<Self> {
        // SAFETY: has no conditions.
        let raw = unsafe { bindings::dk_exporter_new(shows, attach, pin) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        Ok(Self { raw, taken: false })
    }

    fn get(&self) -> &bindings::dk_exporter {
        // SAFETY: it lives. What is read while others write to it are letters.
        unsafe { self.raw.as_ref() }
    }

    fn import(&mut self) -> Result<Arc<Pages>> {
        // SAFETY: it lives.
        let device = NonNull::new(self.get().dev).ok_or(ENODEV)?;
        // SAFETY: valid until the exporter is freed.
        let device = unsafe { DeviceRef::new(device) };
        self.taken = true;
        // INVARIANT: the reference is given over.
        let foreign = Foreign(NonNull::new(self.get().buf).ok_or(ENODEV)?);
        Pages::of_dmabuf(foreign.show(&device)?)
    }

    /// Whether these calls were made, and no others.
    fn has_done(&self, what: &[u8]) -> bool {
        // SAFETY: nothing is kept for this thread's files but by the worker that is waited for.
        unsafe { bindings::dk_flush_files() };
        let done = &self.get().done;
        let letters = done.iter().take_while(|letter| **letter != 0);
        letters.eq(what)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if !self.taken {
            // SAFETY: the reference is still ours.
            unsafe { bindings::dma_buf_put(self.get().buf) };
        }
        // SAFETY: as above, and the dma-buf is released after that.
        unsafe {
            bindings::dk_flush_files();
            bindings::dk_exporter_free(self.raw.as_ptr());
        }
    }
}

#[kernel::prelude::kunit_tests(dmakit_import)]
mod suite {
    use super::*;

    #[test]
    fn the_pages_that_are_shown() -> Result {
        for shows in [
            bindings::dk_shows_DK_SHOWS_MAPPED,
            bindings::dk_shows_DK_SHOWS_LINEAR,
        ] {
            let mut exporter = Exporter::new(shows)?;
            let pages = exporter.import()?;
            assert!(exporter.has_done(b"apv"));
            assert_eq!(pages.count(), bindings::DK_EXPORTER_PAGES as usize);
            assert_eq!(pages.charged(), pages.len());
            let pinned = Pages::pin(&pages);
            assert!(pinned.as_ptrs() == &exporter.get().pages[..]);
            drop(pinned);
            pages.write(PAGE_SIZE as u64 - 2, &[1, 2, 3, 4])?;
            // SAFETY: the mapping has as many bytes.
            let byte = unsafe { *exporter.get().memory.cast::<u8>().add(PAGE_SIZE) };
            assert_eq!(byte, 3);
            assert!(exporter.has_done(b"apv"));
            drop(pages);
            assert!(exporter.has_done(b"apvVPAR"));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_ordinary_memory() -> Result {
        for shows in [
            bindings::dk_shows_DK_SHOWS_SLAB,
            bindings::dk_shows_DK_SHOWS_ZEROES,
            bindings::dk_shows_DK_SHOWS_DEVICE,
            bindings::dk_shows_DK_SHOWS_ODDLY,
        ] {
            let mut exporter = Exporter::new(shows)?;
            assert!(exporter.import().is_err_and(|error| error == EOPNOTSUPP));
            assert!(exporter.has_done(b"apvVPAR"));
        }
        let mut exporter = Exporter::new(bindings::dk_shows_DK_SHOWS_NOTHING)?;
        assert!(exporter.import().is_err_and(|error| error == EOPNOTSUPP));
        assert!(exporter.has_done(b"R"));
        Ok(())
    }

    #[test]
    fn what_exporters_say() -> Result {
        let (eopnotsupp, enosys, eprobe_defer) = (-95, -38, -517);
        let told = [
            (ENOMEM.to_errno(), ENOMEM),
            (EINTR.to_errno(), EINTR),
            (eopnotsupp, EOPNOTSUPP.into()),
            (enosys, EOPNOTSUPP.into()),
            (EBUSY.to_errno(), EIO),
            (EINVAL.to_errno(), EIO),
            (ERESTARTSYS.to_errno(), EINTR),
            (eprobe_defer, EIO),
        ];
        for (says, wanted) in told {
            let shows = bindings::dk_shows_DK_SHOWS_MAPPED;
            let mut exporter = Exporter::that_says(shows, says, 0)?;
            assert_eq!(exporter.import().err(), Some(wanted));
            assert!(exporter.has_done(b"aR"));
            // Their devices have the same name.
            drop(exporter);
            let mut exporter = Exporter::that_says(shows, 0, says)?;
            assert_eq!(exporter.import().err(), Some(wanted));
            assert!(exporter.has_done(b"apAR"));
        }
        // Not an error, and not success.
        let mut exporter = Exporter::that_says(bindings::dk_shows_DK_SHOWS_MAPPED, 0, 1)?;
        assert_eq!(exporter.import().err(), Some(EIO));
        assert!(exporter.has_done(b"apAR"));
        Ok(())
    }
}
