// SPDX-License-Identifier: GPL-2.0
//! Safe access to `/dev/dmaplane`.
//!
//! The kernel module owns the memory and the connections; this library gives
//! them types, keeps their parents alive, and closes them child before parent.
//!
//! | type | is | keeps alive |
//! |---|---|---|
//! | [`Context`] | one open of the device | |
//! | [`Buffer`], [`Mapping`] | pages near a NUMA node, and a view of them | context |
//! | [`Channel`] | a submission and a completion ring | context |
//! | [`AsyncChannel`], [`Submission`] | a channel whose completions are futures | its channel |
//! | [`Listener`], [`Request`] | where peers connect, and one that did | context |
//! | [`Endpoint`] | a connection with credits in the kernel | its channel |
//! | [`Counter`] | how many messages of a kind an endpoint received | context |
//! | [`Region`] | part of a buffer that a fabric's devices may reach | buffer, context |
//! | [`Pool`], [`Piece`] | a buffer that is mapped and registered, and part of it | buffer, region |
//! | [`Views`] | parts of a region with handles of their own | context |
//! | [`Lease`] | the peer's permission to use one of its regions | (a number) |
//!
//! Moving bytes: the receiver [registers](Endpoint::register) a region with
//! remote write and [grants](Endpoint::grant) it; the sender
//! [waits](Endpoint::wait_lease) for the lease, [pushes](Channel::push)
//! [`WriteImm`] entries and [waits](Channel::wait) for their completions. Each
//! write arrives at the receiver as one completion with its immediate, after
//! which its bytes can be read; or is [counted](Counter), so that the receiver sleeps
//! until the last of many is there. A [`Write`] tells it nothing, and with a lease that allows it
//! the receiver may [`Read`] what it wants itself. Each of them moves one range, or
//! [all of a list](Channel::push_pages), such as a layer of a paged KV cache:
//!
//! ```no_run
//! # use dmaplane::{Channel, Endpoint, Lease, Pages, Region, WriteImm};
//! # fn send(channel: &mut Channel, endpoint: &Endpoint, region: &Region, lease: Lease) -> dmaplane::Result<()> {
//! // Blocks 3, 1 and 4 here are to be 0, 1 and 2 there; each has 16 KiB of every of 32 layers.
//! const PAGE: u32 = 16 << 10;
//! let block = 32 * u64::from(PAGE);
//! for layer in 0..32 {
//!     let offset = u64::from(layer * PAGE);
//!     let entry = WriteImm::new(endpoint, region, lease).range(offset, offset, 0).imm(layer);
//!     channel.push_pages(entry, &Pages {
//!         length: PAGE,
//!         local_stride: block,
//!         remote_stride: block,
//!         local: &[3, 1, 4],
//!         remote: &[0, 1, 2],
//!     })?;
//! }
//! channel.submit()?;
//! # Ok(())
//! # }
//! ```
//!
//! Programs that are built on io_uring submit entries [there](uring).
//!
//! Every command that fails says which errno it was, what that means there and
//! what to do: see [`Error`].
//!
//! ```no_run
//! use dmaplane::{Context, Endpoint, ConnectOptions, WriteImm, Access};
//! use std::time::Duration;
//!
//! # fn main() -> dmaplane::Result<()> {
//! let second = Some(Duration::from_secs(1));
//! let context = Context::open()?;
//! let buffer = context.buffer(1 << 20)?;
//! buffer.map()?.copy_in(0, b"hello");
//! let mut channel = context.channel(64, 128)?;
//! let (endpoint, _answer) = Endpoint::address(&context, "10.0.0.2:18515".parse().unwrap(), None, second)?
//!     .connect(&channel, &ConnectOptions::default())?;
//! let region = endpoint.register(&buffer, 0, 1 << 20, Access::LOCAL)?;
//! let lease = endpoint.wait_lease(second)?;
//! channel.push(WriteImm::new(&endpoint, &region, lease).range(0, 0, 5).imm(7))?;
//! channel.wait(1, second)?;
//! for completion in channel.completions() {
//!     println!("{} bytes", completion.result()?);
//! }
//! # Ok(())
//! # }
//! ```

mod advice;
mod buffer;
mod channel;
mod context;
mod counter;
mod endpoint;
mod entry;
mod error;
mod futures;
mod list;
mod map;
mod net;
mod pool;
mod region;
mod ring;
mod sys;
pub mod uring;
mod view;

pub use buffer::{
    Buffer, BufferOptions, ExportOptions, Huge, Mapping, Moved, Placement, Rights, Share, HUGE_SIZE,
};
pub use channel::{Channel, ChannelOptions, Completion, Completions, Delivers, Kind, Timed, Times};
pub use context::{Context, Fabric, Info, Readiness, Stats, DEVICE};
pub use counter::{Counter, Immediates};
pub use endpoint::{
    ConnectOptions, Endpoint, EndpointStatus, Listener, Request, Resolved, State, MESSAGE_MAX,
    MESSAGE_MIN,
};
pub use entry::{
    BufCopy, BufFill, Cancel, CounterWait, Entry, ImmOnly, Invalidate, Migrate, Nop, Read,
    RecvMessage, SendMessage, Write, WriteImm,
};
pub use error::{Error, Op, Result};
pub use futures::{AsyncChannel, Reactor, Submission, TimedSubmission};
pub use list::{Pages, Segment};
pub use net::Private;
pub use pool::{Piece, Pool, PIECE_ALIGN};
pub use region::{Access, Lease, Region};
pub use rustix::io::Errno;
pub use view::{Span, View, Views};

/// How long a call may wait; `None` is for ever.
pub type Timeout = Option<std::time::Duration>;
