// SPDX-License-Identifier: GPL-2.0

//! Buffers: zeroed pages near a NUMA node, mapped by user space, or memory that user space has
//! ([`pin`](self::pin)) or another driver ([`import`]); registered by regions, moved to other nodes
//! ([`migrate`](self::migrate)), opened by other contexts ([`share`]).
//!
//! Ownership: the handle, each mapping, each region and each dma-buf ([`export`]) hold an `Arc` of the
//! [`Buffer`], what one context has of some memory. Buffers and shares hold an `Arc` of the [`Memory`], which holds
//! the pages and their charge: to whom it was made by. It goes when the last of them does, never before.
//! Locking: none of its own. Where the pages are may change, and where they are shown, and what they hold; nothing
//! else does.

pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod migrate;
pub(crate) mod pin;
mod rekey;
pub(crate) mod share;

use crate::{
    context::{
        Context,
        Object, //
    },
    counters::{
        Live,
        Tally, //
    },
    info::MAX_BUFFER,
    ioctl::Created,
    region::{
        Readiness,
        Registration, //
    }, //
};
use dmakit::{
    errno::{
        ENOBUFS,
        EOPNOTSUPP, //
    },
    mm::{
        self,
        map::{
            Mappable,
            NewMapping, //
        },
        migrate::Migration,
        pages::{
            Blocks,
            Pages,
            Placement,
            BLOCK_PAGES,
            ORDERS, //
        },
        shown::Shown,
        space::Space, //
    },
    uapi, //
};
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};

/// Memory, whoever has it.
#[pin_data]
struct Memory {
    pages: Arc<Pages>,
    node: Atomic<i32>,
    nodes: u64,
    flags: u32,
    shown: Arc<Shown>,
    /// Those of its parts, and some that have gone.
    #[pin]
    registrations: Mutex<KVec<Arc<Registration>>>,
    /// Held by who moves it while parts of it are registered.
    #[pin]
    moving: Mutex<()>,
    _import: Option<Tally>,
    _bytes: Tally,
    // Note: dropped after the pages.
    _charge: Tally,
}

/// Memory that a context has, with rights.
pub(crate) struct Buffer {
    memory: Arc<Memory>,
    rights: u32,
    /// Those of the context's file, among which its own are.
    space: Arc<Space>,
    /// Where they begin, once there was one; never 0.
    first: Atomic<usize>,
    mappings: Atomic<i32>,
    _tally: Tally,
}

/// All there are.
const RIGHTS: u32 =
    uapi::DMAPLANE_SHARE_READ | uapi::DMAPLANE_SHARE_WRITE | uapi::DMAPLANE_SHARE_REMOTE;

impl Buffer {
    /// Of memory that nobody else has.
    fn new(
        pages: Arc<Pages>,
        charge: Tally,
        (node, nodes): (i32, u64),
        flags: u32,
        context: &Context,
    ) -> Result<Arc<Self>> {
        let bytes = pages.len();
        let counters = context.counters();
        let import =
            (flags & uapi::DMAPLANE_BUF_IMPORTED != 0).then(|| Tally::one(counters, Live::Imports));
        let shown = Shown::nowhere()?;
        let memory = pin_init!(Memory {
            pages,
            node: Atomic::new(node),
            nodes,
            flags,
            shown,
            registrations <- new_mutex!(KVec::new()),
            moving <- new_mutex!(()),
            _import: import,
            _bytes: Tally::many(counters, Live::BufferBytes, bytes),
            _charge: charge,
        });
        Self::of(Arc::pin_init(memory, GFP_KERNEL_ACCOUNT)?, RIGHTS, context)
    }

    /// Of memory that others have, too.
    fn of(memory: Arc<Memory>, rights: u32, context: &Context) -> Result<Arc<Self>> {
        let buffer = Self {
            memory,
            rights,
            space: context.space().clone(),
            first: Atomic::new(0),
            mappings: Atomic::new(0),
            _tally: Tally::one(context.counters(), Live::Buffers),
        };
        Ok(Arc::new(buffer, GFP_KERNEL_ACCOUNT)?)
    }

    /// The node asked for, or `DMAPLANE_NODE_ANY`.
    pub(crate) fn node(&self) -> i32 {
        self.memory.node.load(Relaxed)
    }

    /// `DMAPLANE_BUF_*`
    fn flags(&self) -> u32 {
        match self.rights & uapi::DMAPLANE_SHARE_WRITE {
            0 => self.memory.flags | uapi::DMAPLANE_BUF_RDONLY,
            _ => self.memory.flags,
        }
    }

    /// `EACCES` if not all of these rights are there.
    pub(crate) fn check_rights(&self, rights: u32) -> Result {
        match rights & !self.rights {
            0 => Ok(()),
            _ => Err(EACCES),
        }
    }

    /// `EACCES` if it must not be written to.
    pub(crate) fn check_writable(&self) -> Result {
        match self.flags() & uapi::DMAPLANE_BUF_RDONLY {
            0 => Ok(()),
            _ => Err(EACCES),
        }
    }

    /// `EOPNOTSUPP` if it is not the module's own memory, which is nobody's to give away.
    pub(crate) fn check_own(&self) -> Result {
        match self.memory.flags & (uapi::DMAPLANE_BUF_PINNED | uapi::DMAPLANE_BUF_IMPORTED) {
            0 => Ok(()),
            _ => Err(EOPNOTSUPP.into()),
        }
    }

    /// Whether it is another driver's memory.
    pub(crate) fn is_imported(&self) -> bool {
        self.memory.flags & uapi::DMAPLANE_BUF_IMPORTED != 0
    }

    /// Another one was asked for, and its pages are there.
    pub(crate) fn set_node(&self, node: i32) {
        self.memory.node.store(node, Relaxed);
    }

    /// Moves the next pages; whether there are more.
    pub(crate) fn migrate(&self, migration: &mut Migration) -> Result<bool> {
        migration.step(self.pages(), &self.memory.shown)
    }

    /// Shows a part from page `first` on, in a mapping of the context's file, in which it begins at `offset`.
    /// `EACCES` if that could be written to, and must not.
    pub(crate) fn show(
        this: Arc<Self>,
        mut mapping: NewMapping<'_>,
        offset: u64,
        first: usize,
    ) -> Result {
        this.check_own()?;
        if this.check_writable().is_err() {
            mapping.forbid_writing()?;
        }
        let begin = usize::try_from(offset)? / PAGE_SIZE;
        this.memory.shown.add(&this.space, begin)?;
        this.first.store(begin, Relaxed);
        mapping.show(this, first)
    }

    /// A part of it was registered.
    pub(crate) fn register(&self, registration: Arc<Registration>) -> Result {
        let mut all = self.memory.registrations.lock();
        all.retain(|other| other.readiness() != Readiness::Gone);
        Ok(all.push(registration, GFP_KERNEL_ACCOUNT)?)
    }

    /// User mappings alive.
    pub(crate) fn mappings(&self) -> u32 {
        u32::try_from(self.mappings.load(Relaxed)).unwrap_or(0)
    }

    /// The memory.
    pub(crate) fn pages(&self) -> &Arc<Pages> {
        &self.memory.pages
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let first = self.first.load(Relaxed);
        if first != 0 {
            self.memory.shown.remove(&self.space, first);
        }
    }
}

impl Mappable for Buffer {
    fn pages(&self) -> &Arc<Pages> {
        &self.memory.pages
    }

    fn mapped(&self) {
        self.mappings.add(1, Relaxed);
    }

    fn unmapped(&self) {
        self.mappings.add(-1, Relaxed);
    }
}

const FLAGS: u32 = uapi::DMAPLANE_BUF_NODE_STRICT
    | uapi::DMAPLANE_BUF_INTERLEAVE
    | uapi::DMAPLANE_BUF_HUGE
    | uapi::DMAPLANE_BUF_NO_HUGE;

// What the header says about blocks is what pages are taken in.
const _: () = assert!(uapi::DMAPLANE_BLOCK_ORDERS as usize == ORDERS);
const _: () = assert!(uapi::DMAPLANE_HUGE_SIZE as usize == BLOCK_PAGES * PAGE_SIZE);

/// Where the pages shall be.
fn placement(arg: &uapi::dmaplane_buf_create) -> Result<Placement> {
    let strict = arg.flags & uapi::DMAPLANE_BUF_NODE_STRICT != 0;
    if arg.flags & uapi::DMAPLANE_BUF_INTERLEAVE != 0 {
        if arg.node != uapi::DMAPLANE_NODE_ANY || arg.nodes == 0 {
            return Err(EINVAL);
        }
        let wanted = |node: &i32| arg.nodes & (1 << node) != 0;
        if (0..64).filter(wanted).any(|node| !mm::node_online(node)) {
            return Err(ENXIO);
        }
        let nodes = arg.nodes;
        return Ok(Placement::Turns { nodes, strict });
    }
    if arg.nodes != 0 {
        return Err(EINVAL);
    }
    match (arg.node, strict) {
        (uapi::DMAPLANE_NODE_ANY, true) => Err(EINVAL),
        (uapi::DMAPLANE_NODE_ANY, false) => Ok(Placement::Any),
        (node, _) if !mm::node_online(node) => Err(ENXIO),
        (node, true) => Ok(Placement::Strict(node)),
        (node, false) => Ok(Placement::Prefer(node)),
    }
}

/// `BUF_CREATE`
pub(crate) fn create(context: &Context, arg: &mut uapi::dmaplane_buf_create) -> Result<Created> {
    let blocks = match (
        arg.flags & uapi::DMAPLANE_BUF_HUGE != 0,
        arg.flags & uapi::DMAPLANE_BUF_NO_HUGE != 0,
    ) {
        (true, true) => return Err(EINVAL),
        (true, false) => Blocks::Must,
        (false, true) => Blocks::Never,
        (false, false) => Blocks::May,
    };
    if arg.flags & !FLAGS != 0 || arg.length == 0 {
        return Err(EINVAL);
    }
    if arg.length > MAX_BUFFER {
        return Err(EFBIG);
    }
    let placement = placement(arg)?;
    let unit = match blocks {
        Blocks::Must => BLOCK_PAGES,
        _ => 1,
    };
    let count = usize::try_from(arg.length.div_ceil(PAGE_SIZE as u64))?.next_multiple_of(unit);
    let bytes = u64::try_from(count)?.saturating_mul(PAGE_SIZE as u64);
    let memory = Tally::memory(context.counters(), bytes)?;
    let pages = Pages::in_blocks(count, placement, blocks)?;
    let buffer = Buffer::new(pages, memory, (arg.node, arg.nodes), arg.flags, context)?;
    arg.handle = context.insert(Object::Buffer(buffer))?;
    arg.mmap_offset = Context::mmap_offset(arg.handle);
    Ok(Created(arg.handle))
}

/// `BUF_QUERY`
pub(crate) fn query(context: &Context, arg: &mut uapi::dmaplane_buf_query) -> Result {
    if arg.flags != 0 {
        return Err(EINVAL);
    }
    let buffer = context.get::<Buffer>(arg.handle)?;
    let nodes = mm::nr_nodes();
    if arg.nr_nodes < nodes {
        return Err(ENOBUFS.into());
    }

    let mut counts = KVec::from_elem(0u64, usize::try_from(nodes)?, GFP_KERNEL_ACCOUNT)?;
    let mut blocks = [0; ORDERS];
    let moves = buffer.memory.pages.survey(&mut counts, &mut blocks)?;
    let mut out = UserSlice::new(
        UserPtr::from_addr(usize::try_from(arg.node_pages)?),
        core::mem::size_of_val(&counts[..]),
    )
    .writer();
    for count in &counts {
        out.write(count)?;
    }

    arg.nr_nodes = nodes;
    arg.length = buffer.memory.pages.len();
    arg.pages = buffer.memory.pages.count() as u64;
    arg.node = buffer.node();
    arg.create_flags = buffer.flags();
    arg.moves = moves;
    arg.nodes = buffer.memory.nodes;
    arg.blocks = blocks;
    arg.mappings = buffer.mappings();
    Ok(())
}

/// `BUF_DESTROY`
pub(crate) fn destroy(context: &Context, arg: &uapi::dmaplane_handle) -> Result {
    if arg.flags != 0 || arg.pad != 0 {
        return Err(EINVAL);
    }
    drop(context.remove::<Buffer>(arg.handle)?);
    Ok(())
}
