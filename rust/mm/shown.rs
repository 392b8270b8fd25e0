// SPDX-License-Identifier: GPL-2.0

//! Where pages are shown: in the mappings of a file, or of several, if they are shared.
//!
//! Ownership: a [`Shown`] holds the [`Space`]s of the files, each until it is told that there is no mapping any more.
//! Locking: its own, inside of `mmap_lock` and outside of the list of the pages. It is held while they are moved, so
//! that whoever is about to map them in one more place is seen, or maps what has been moved.
//! Teardown: none.

use super::space::Space;
use kernel::{
    alloc::KVVec,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        MutexGuard, //
    }, //
};

/// Mappings of a file which show pages.
pub(super) struct Place {
    space: Arc<Space>,
    /// The file's page that is page 0 of them.
    first: usize,
}

impl Place {
    /// The mappings.
    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    /// The file's page where page `index` of them is.
    pub(super) fn page(&self, index: usize) -> usize {
        self.first.wrapping_add(index)
    }

    fn is(&self, space: &Arc<Space>, first: usize) -> bool {
        self.first == first && Arc::ptr_eq(&self.space, space)
    }
}

/// Files that may show the same pages: who moves them goes to each.
const MOST: usize = 1024;

/// Where pages are shown.
#[pin_data]
pub struct Shown {
    #[pin]
    places: Mutex<KVVec<Place>>,
}

impl Shown {
    /// Nowhere. Not an initialiser, of which each crate would have its own class of lock.
    pub fn nowhere() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                places <- new_mutex!(KVVec::new(), "Shown::places"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// They are about to be, from page `first` of a file on. `ENOMEM` if they are in too many already.
    pub fn add(&self, space: &Arc<Space>, first: usize) -> Result {
        let mut places = self.places.lock();
        if !places.iter().any(|place| place.is(space, first)) {
            if places.len() >= MOST {
                return Err(ENOMEM);
            }
            let space = space.clone();
            places.push(Place { space, first }, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// They are not any more.
    pub fn remove(&self, space: &Arc<Space>, first: usize) {
        self.places.lock().retain(|place| !place.is(space, first));
    }

    /// All of them, and no more while this is held.
    pub(super) fn places(&self) -> MutexGuard<'_, KVVec<Place>> {
        self.places.lock()
    }
}
