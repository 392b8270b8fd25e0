// SPDX-License-Identifier: GPL-2.0
//! VIEW_CREATE and VIEW_DESTROY: arrays of parts of regions, and of handles.

use std::collections::HashSet;

use libc::{EBADF, ENOENT};

use crate::abi::{name, uapi::*, Argument, Cmd};
use crate::call::{Outcome, Use};
use crate::choice::{Call, Choice, Pick};
use crate::exec::{no_use, Worker};
use crate::world::{lock, Context, Kind, Object, SPANS};

/// How many an argument says there are, if it is `how` says so: those, none, or too many.
fn said(len: usize, how: u8) -> u32 {
    match how {
        240..=243 => 0,
        244..=247 => DMAPLANE_VIEW_MAX + 1 + u32::from(how),
        _ => len as u32,
    }
}

/// Where it says that they are.
fn place<T>(array: &mut [T], how: u8) -> u64 {
    if how % 16 == 15 {
        8
    } else {
        array.as_mut_ptr() as u64
    }
}

impl Worker {
    pub fn create_views(
        &self,
        call: &Call,
        region: Pick,
        (first, length): (u8, u8),
        access: u8,
        count: u8,
        how: u8,
    ) {
        let context = self.context(call.context);
        if self.make_room(&context, Kind::View) {
            return;
        }
        let one = |n: u64| dmaplane_view {
            offset: match first {
                0..=239 => u64::from(first) * n,
                more => u64::MAX - u64::from(more) * n,
            },
            length: match length {
                0..=239 => u64::from(length) * 3,
                more => u64::MAX - u64::from(more),
            },
            access: if access < 250 { u32::from(access % 8) } else { u32::from(access) },
            handle: 0xdead,
        };
        let mut list: Vec<_> = (0..u64::from(count % 16 + 1)).map(one).collect();
        let arg = dmaplane_view_create {
            region: self.pick(&context, region, SPANS),
            count: said(list.len(), how),
            views: place(&mut list, how),
            ..Argument::sized()
        };
        // What is written through the pointer must stay in `list`.
        let call = call.sparing(12, 24);
        if call.place().is_contended() {
            return;
        }
        let uses: fn(&dmaplane_view_create) -> Vec<Use> = |a| vec![(a.region, SPANS)];
        let Outcome { result, arg, .. } =
            self.caller.call(&context, Cmd::ViewCreate, &call, arg, uses);
        if result.is_err() {
            let told = list.iter().find(|view| view.handle != 0xdead);
            // Of memory that cannot be written, what can be is: nothing here is such.
            if let Some(view) = told {
                self.caller.violation(format!("VIEW_CREATE failed, and told of {view:?}"));
            }
            return;
        }
        let of = {
            let objects = lock(&context.objects);
            match objects.of(arg.region) {
                Some(view) if view.kind == Kind::View => view.region,
                _ => arg.region,
            }
        };
        for view in list {
            let object = Object::new(Kind::View, view.handle);
            self.add(&context, Object { length: view.length, region: of, ..object });
        }
    }

    pub fn destroy_views(&self, call: &Call, view: Pick, count: u8, how: u8) {
        let context = self.context(call.context);
        let first = self.pick(&context, view, &[Kind::View]);
        let right = view.choice() == Choice::Right || count % 4 == 0;
        let mut handles: Vec<u32> = {
            let objects = lock(&context.objects);
            let views = objects.live.iter().filter(|o| o.kind == Kind::View);
            views.map(|o| o.handle).filter(|other| *other != first || !right).collect()
        };
        handles.truncate(usize::from(count % 8));
        handles.insert(usize::from(how) % (handles.len() + 1), first);
        self.end_views(&context, call, &handles, how);
    }

    /// VIEW_DESTROY of these.
    pub fn end_views(&self, context: &Context, call: &Call, handles: &[u32], how: u8) {
        let mut list = handles.to_vec();
        let arg = dmaplane_view_destroy {
            count: said(list.len(), how),
            handles: place(&mut list, how),
            ..Argument::sized()
        };
        let call = call.sparing(8, 24);
        if call.place().is_contended() {
            return;
        }
        let Outcome { result, .. } =
            self.caller.call(context, Cmd::ViewDestroy, &call, arg, no_use);
        let mut objects = lock(&context.objects);
        let kind = |handle: &u32| objects.of(*handle).map(|object| object.kind);
        let distinct = handles.iter().collect::<HashSet<_>>().len() == handles.len();
        let fits = match result {
            Ok(()) => distinct && handles.iter().all(|handle| kind(handle) == Some(Kind::View)),
            Err(ENOENT) => !distinct || handles.iter().any(|handle| kind(handle).is_none()),
            Err(EBADF) => handles.iter().any(|h| kind(h).is_some_and(|kind| kind != Kind::View)),
            Err(_) => true,
        };
        if result.is_ok() {
            handles.iter().for_each(|handle| objects.remove(*handle));
        }
        drop(objects);
        if context.strict && !fits {
            let result = result.map_or_else(name, |()| "ok".into());
            self.caller.violation(format!("VIEW_DESTROY of {handles:x?} is {result}"));
        }
    }
}
