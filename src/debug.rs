// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/dmaplane/objects`: what is alive, for root: a line "name count" for each kind
//! of object, over all contexts; and `abandoned`, how many entries were completed so far of which
//! their adapter did not tell. In a test build also the controls of the mock fabric.

use crate::{
    counters::{
        Counters,
        LIVE_NAMES, //
    },
    device::Device, //
};
use dmakit::debugfs::TextFile;
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

/// The file; it goes when this is dropped.
pub(crate) struct Debug {
    // Note: dropped before the directory that it is in.
    #[cfg(dmaplane_test)]
    _mock: dmakit::rdma::mock::Control,
    _objects: TextFile<Objects>,
}

struct Objects(Arc<Counters>);

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in LIVE_NAMES.iter().zip(self.0.all_live()) {
            writeln!(f, "{name} {count}")?;
        }
        writeln!(f, "abandoned {}", self.0.all_abandoned())
    }
}

impl Debug {
    /// Makes the file.
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self> {
        let objects = Objects(device.counters().clone());
        let objects = TextFile::new(c"dmaplane", c"objects", objects)?;
        Ok(Self {
            #[cfg(dmaplane_test)]
            _mock: dmakit::rdma::mock::Control::new(c"dmaplane")?,
            _objects: objects,
        })
    }
}
