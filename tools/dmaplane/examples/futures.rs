// SPDX-License-Identifier: GPL-2.0
//! Entries as futures, on tokio: a hundred copies in as many tasks and, with the address of an
//! RDMA device of this host, a connection of this program to itself on which messages are
//! received, counted, and waited for in vain, and which reads into a piece of a pool. And, with no future,
//! a dma-buf.
//!
//! ```text
//! futures [ADDRESS]
//! ```

use std::{
    env,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dmaplane::{
    Access, AsyncChannel, BufCopy, ChannelOptions, ConnectOptions, Context, Endpoint, Errno,
    ExportOptions, ImmOnly, Immediates, Kind, Nop, Pool, Read,
};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use tokio::{runtime::Builder, spawn, task::spawn_blocking, time::timeout};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PAGE: u64 = 4096;
const COPIES: u64 = 100;
/// Bytes between those that are copied. So much is copied by a kernel thread.
const STRIDE: u64 = 72 << 10;

/// More than there is room for at a time: the others wait.
async fn copies(context: &Context) -> Outcome {
    let (from, to) = (
        context.buffer(COPIES * STRIDE)?,
        context.buffer(COPIES * STRIDE)?,
    );
    let text: Vec<u8> = (0..COPIES * STRIDE).map(|n| (n / 7 % 251) as u8).collect();
    from.map()?.copy_in(0, &text);
    let channel = AsyncChannel::on_tokio(context.channel(16, 32)?)?;
    let tasks: Vec<_> = (0..COPIES)
        .map(|n| {
            let length = if n % 2 == 0 { STRIDE } else { 4096 };
            let (source, target) = ((&from, n * STRIDE), (&to, n * STRIDE));
            spawn(channel.submit(BufCopy::new(source, target, length as u32)))
        })
        .collect();
    let mut bytes = 0;
    for task in tasks {
        bytes += u64::from(task.await??);
    }
    let mut copied = vec![0; text.len()];
    to.map()?.copy_out(0, &mut copied);
    let right = |n: &u64| {
        let at = (n * STRIDE) as usize;
        let end = at + if n % 2 == 0 { STRIDE as usize } else { 4096 };
        copied[at..end] == text[at..end]
    };
    let right = (0..COPIES).filter(right).count();
    println!("copies: {right} right, {bytes} bytes");
    Ok(())
}

/// A connection of this process to itself: both sides' channels and endpoints.
async fn connect(
    context: &Context,
    address: IpAddr,
) -> Outcome<[(Arc<AsyncChannel>, Endpoint); 2]> {
    let options = ConnectOptions::default();
    // Receives have places in the completion ring, too.
    let timed = ChannelOptions::new(64, 256).times(true);
    let here = Arc::new(AsyncChannel::on_tokio(context.channel_with(timed)?)?);
    let there = Arc::new(AsyncChannel::on_tokio(context.channel_with(timed)?)?);
    let listener = context.listen(SocketAddr::new(address, 0), 1)?;
    let to = listener.address().ok_or("it listens nowhere")?;
    let delivers = Arc::clone(&there);
    let accepting = spawn_blocking(move || {
        let request = listener.request(Some(Duration::from_secs(10)))?;
        request.accept(&*delivers, &options)
    });
    let (context, delivers) = (context.clone(), Arc::clone(&here));
    let connecting = spawn_blocking(move || {
        let resolved = Endpoint::address(&context, to, None, Some(Duration::from_secs(10)))?;
        resolved.connect(&*delivers, &options)
    });
    let (endpoint, _) = connecting.await??;
    Ok([(here, endpoint), (there, accepting.await??)])
}

const MESSAGES: u32 = 50;
const COUNTED: u32 = 7;

/// Pieces of a pool, of which none is left, and what the peer has is read into one. Then they are all there
/// again, in one place, with what was in them.
async fn pooled(
    context: &Context,
    here: &AsyncChannel,
    out: &Endpoint,
    into: &Endpoint,
) -> Outcome {
    let text = b"read into a piece";
    let theirs = context.buffer(PAGE)?;
    theirs.map()?.copy_in(0, text);
    let region = into.register(&theirs, 0, PAGE, Access::REMOTE_READ)?;
    into.grant(&region, 0)?;
    let lease = out.wait_lease(Some(Duration::from_secs(10)))?;

    let pool = Pool::new(out, 16 * PAGE, Access::LOCAL_WRITE, Default::default())?;
    let fill = |number: u8| {
        let mut piece = pool.take(PAGE - 1)?;
        piece.fill(number);
        Some(piece)
    };
    let pieces: Vec<_> = (0..20).map_while(fill).collect();
    assert!(pool.take(1).is_none() && pool.available() == 0);
    let [.., last] = &pieces[..] else {
        return Err("it has no pieces".into());
    };
    let read = Read::new(out, last.region(), lease).range(last.offset(), 0, text.len() as u32);
    let length = here.submit(read).await?;
    let mut found = vec![0; length as usize];
    last.copy_out(0, &mut found);
    println!(
        "pool: {} pieces, {}",
        pieces.len(),
        String::from_utf8_lossy(&found)
    );

    drop(pieces);
    let all = pool.take(pool.len()).ok_or("not all of it is there")?;
    let mut found = vec![0; all.len() as usize];
    all.copy_out(0, &mut found);
    found[15 * PAGE as usize..][..text.len()].fill(15);
    let pages = found.chunks(PAGE as usize).zip(0u8..);
    let right = pages.filter(|(page, n)| page[..page.len() - 1].iter().all(|byte| byte == n));
    println!("pool: {} of 16 as they were", right.count());
    Ok(())
}

async fn messages(context: &Context, address: IpAddr) -> Outcome {
    let [(here, out), (there, into)] = connect(context, address).await?;
    pooled(context, &here, &out, &into).await?;
    let counter = into.counter(Immediates::exactly(COUNTED))?;
    let counted = spawn(there.submit(counter.wait_for(MESSAGES.into())));
    let mut sent = Vec::new();
    for n in 0..MESSAGES {
        sent.push(here.submit(ImmOnly::new(&out, COUNTED)).timed());
        sent.push(here.submit(ImmOnly::new(&out, 1000 + n)).timed());
    }
    let receiving = Arc::clone(&there);
    let received = spawn(async move {
        let mut sum = 0;
        for _ in 0..MESSAGES {
            let message = receiving.next().await?;
            assert_eq!(message.kind, Kind::Recv);
            sum += message.imm - 1000;
        }
        Ok::<_, dmaplane::Error>(sum)
    });
    let mut refused = 0;
    for future in sent {
        let (completion, times) = future.await?;
        let times = times.ok_or("a completion has no times")?;
        assert!(times.submit <= Some(times.complete));
        match completion.result() {
            Ok(_) => assert!(times.submit <= times.post && times.post <= Some(times.complete)),
            Err(e) if e.errno() == Errno::OPNOTSUPP => refused += 1,
            Err(e) => return Err(e.into()),
        }
    }
    if refused == 0 {
        println!("received: {MESSAGES}, sum {}", received.await??);
        counted.await??;
        println!("counted: {}", counter.value()?);
    } else {
        received.abort();
        counted.abort();
        println!("refused: {refused}");
    }

    // What waits in vain is canceled with its future, and gives back its place.
    let in_vain = there.submit(counter.wait_for(u64::MAX));
    assert!(timeout(Duration::from_millis(20), in_vain).await.is_err());
    while there.submit(Nop::default()).await.is_ok() {
        let stats = context.stats()?;
        if stats.submitted == stats.completed {
            println!("canceled");
            break;
        }
    }
    Ok(())
}

/// A part of a buffer as a dma-buf, which outlives the buffer and its context.
fn shared() -> Outcome {
    let text = b"seen by who has the descriptor";
    let dmabuf = {
        let buffer = Context::open()?.buffer(3 * PAGE)?;
        buffer.map()?.copy_in(PAGE as usize, text);
        let nothing = ExportOptions {
            length: Some(0),
            ..ExportOptions::default()
        };
        assert!(buffer
            .export(nothing)
            .is_err_and(|e| e.errno() == Errno::RANGE));
        buffer.export(ExportOptions {
            offset: PAGE,
            read_only: true,
            ..ExportOptions::default()
        })?
    };
    let (read, none) = (ProtFlags::READ, std::ptr::null_mut());
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { mmap(none, 2 * PAGE as usize, read, MapFlags::SHARED, &dmabuf, 0)? };
    drop(dmabuf);
    let mut found = [0; 30];
    // SAFETY: the mapping is longer, and nobody else writes to this memory any more.
    unsafe { std::ptr::copy_nonoverlapping(at.cast(), found.as_mut_ptr(), found.len()) };
    // SAFETY: it is not used after this.
    unsafe { munmap(at, 2 * PAGE as usize)? };
    println!("shared: {}", String::from_utf8_lossy(&found));
    Ok(())
}

fn main() -> Outcome {
    let address = env::args().nth(1).map(|text| text.parse()).transpose()?;
    // With one thread, and with several.
    for threads in [0, 2] {
        let runtime = match threads {
            0 => Builder::new_current_thread().enable_all().build()?,
            n => Builder::new_multi_thread()
                .worker_threads(n)
                .enable_all()
                .build()?,
        };
        shared()?;
        let context = Context::open()?;
        runtime.block_on(async {
            copies(&context).await?;
            match address {
                Some(address) => messages(&context, address).await,
                None => Ok(()),
            }
        })?;
        let stats = context.stats()?;
        println!(
            "left: {} channels, {} endpoints",
            stats.channels, stats.endpoints
        );
    }
    Ok(())
}
