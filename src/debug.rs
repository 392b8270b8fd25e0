// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/dmaplane`: what is alive, for root.
//!
//! `objects`: a line "name count" for each kind of object, over all contexts.

use crate::{
    counters::{
        Counters,
        LIVE_NAMES, //
    },
    device::Device, //
};
use kernel::{
    debugfs,
    fmt,
    prelude::*,
    sync::Arc, //
};

/// The files; they go when this is dropped.
pub(crate) struct Debug {
    _objects: Pin<KBox<debugfs::File<Objects>>>,
    _dir: debugfs::Dir,
}

struct Objects(Arc<Counters>);

impl debugfs::Writer for Objects {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in LIVE_NAMES.iter().zip(self.0.all_live()) {
            writeln!(f, "{name} {count}")?;
        }
        Ok(())
    }
}

impl Debug {
    /// Makes the files.
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self> {
        let dir = debugfs::Dir::new(c"dmaplane");
        let objects = Objects(device.counters().clone());
        Ok(Self {
            _objects: KBox::pin_init(dir.read_only_file(c"objects", objects), GFP_KERNEL)?,
            _dir: dir,
        })
    }
}
