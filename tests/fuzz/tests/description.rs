// SPDX-License-Identifier: GPL-2.0
//! dev_dmaplane.txt describes the ABI of include/uapi/dmaplane.h: every command, every
//! struct with all members at their places, every constant with its value. The truth
//! about the header is what bindgen makes of it, in the text of the bindings.

use std::collections::{BTreeMap, BTreeSet};

const BINDINGS: &str = include_str!(concat!(env!("OUT_DIR"), "/uapi_generated.rs"));
const TEXT: &str = include_str!("../dev_dmaplane.txt");
const CONSTS: &str = include_str!("../dev_dmaplane.txt.const");

/// Members with their offsets, in order of these, and the size.
#[derive(Debug, Default, PartialEq)]
struct Layout {
    members: Vec<(String, usize)>,
    size: usize,
}

// ---- The header ------------------------------------------------------------

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse::<i64>().map(|n| n as u64).or_else(|_| text.parse()).ok(),
    }
}

/// From bindgen's layout assertions.
fn header_layouts() -> BTreeMap<String, Layout> {
    let mut layouts: BTreeMap<String, Layout> = BTreeMap::new();
    let flat = BINDINGS.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in flat.split("[\"").skip(1) {
        let Some((what, rest)) = part.split_once("\"]") else { continue };
        let value = rest.split("usize]").next().and_then(|s| s.rsplit(' ').next()).and_then(number);
        let value = value.expect(what) as usize;
        if let Some(name) = what.strip_prefix("Size of ") {
            layouts.entry(name.to_owned()).or_default().size = value;
        } else if let Some(member) = what.strip_prefix("Offset of field: ") {
            let (name, member) = member.split_once("::").expect(member);
            let members = &mut layouts.entry(name.to_owned()).or_default().members;
            members.push((member.to_owned(), value));
        }
    }
    layouts.retain(|name, _| name.starts_with("dmaplane_"));
    layouts
}

fn header_constants() -> BTreeMap<String, u64> {
    let constants = BINDINGS.lines().filter_map(|line| {
        let (name, rest) = line.trim().strip_prefix("pub const ")?.split_once(": ")?;
        let value = number(rest.split_once("= ")?.1.trim_end_matches(';'))?;
        Some((name.to_owned(), value))
    });
    constants.filter(|(name, _)| name.starts_with("DMAPLANE_")).collect()
}

// ---- The description -------------------------------------------------------

struct Description {
    resources: BTreeMap<String, String>,
    /// Members as "name type"; whether it is a union.
    structs: BTreeMap<String, (Vec<(String, String)>, bool)>,
    calls: Vec<String>,
    flags: BTreeMap<String, Vec<String>>,
    defines: BTreeMap<String, String>,
}

/// The parts of "a, b[c, d]", at the commas outside of brackets.
fn parts(list: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list[from..].trim());
    parts
}

/// "name[arguments]" in two.
fn applied(text: &str) -> (&str, Vec<&str>) {
    match text.split_once('[') {
        Some((name, rest)) => (name, parts(rest.strip_suffix(']').expect(text))),
        None => (text, Vec::new()),
    }
}

fn parse() -> Description {
    let mut d = Description {
        resources: BTreeMap::new(),
        structs: BTreeMap::new(),
        calls: Vec::new(),
        flags: BTreeMap::new(),
        defines: BTreeMap::new(),
    };
    let mut open: Option<(String, bool)> = None;
    for line in TEXT.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        if let Some((name, _)) = &open {
            if line == "}" || line == "]" {
                open = None;
                continue;
            }
            let (member, kind) = line.strip_prefix('\t').expect(line).split_once('\t').expect(line);
            let kind = kind.trim().split("\t(").next().expect(line).trim();
            let members = &mut d.structs.get_mut(name).expect(name).0;
            members.push((member.to_owned(), kind.to_owned()));
        } else if let Some(rest) = line.strip_prefix("resource ") {
            let base = rest.split([':']).next().expect(line).trim();
            let (name, arguments) = applied(base);
            d.resources.insert(name.to_owned(), arguments[0].to_owned());
        } else if let Some(rest) = line.strip_prefix("define ") {
            let (name, value) = rest.split_once('\t').expect(line);
            d.defines.insert(name.to_owned(), value.to_owned());
        } else if line.ends_with(" {") || line.ends_with(" [") {
            let name = line.trim_start_matches("type ");
            let name = name.split([' ', '[']).next().expect(line).to_owned();
            let is_union = line.ends_with(" [");
            assert!(
                d.structs.insert(name.clone(), (Vec::new(), is_union)).is_none(),
                "{name} twice"
            );
            open = Some((name, is_union));
        } else if line.starts_with("include ") {
        } else if line.contains('(') {
            d.calls.push(line.to_owned());
        } else {
            let (name, values) = line.split_once(" = ").expect(line);
            d.flags.insert(name.to_owned(), parts(values).into_iter().map(str::to_owned).collect());
        }
    }
    assert!(open.is_none());
    d
}

impl Description {
    /// Size and alignment of a type.
    fn size(&self, kind: &str, constants: &BTreeMap<String, u64>) -> (usize, usize) {
        let (name, arguments) = applied(kind);
        let int = |name: &str| {
            let bits = name.strip_prefix("int")?.trim_end_matches("be").parse::<usize>().ok()?;
            Some((bits / 8, bits / 8))
        };
        if let Some(size) = int(name) {
            return size;
        }
        if let Some(base) = self.resources.get(name) {
            return self.size(base, constants);
        }
        if self.structs.contains_key(name) {
            let (layout, align) = self.layout(name, constants);
            return (layout.size, align);
        }
        match name {
            "const" | "len" | "flags" => int(applied(arguments[1]).0).expect(kind),
            "ptr64" | "vma64" => (8, 8),
            "array" => {
                let (size, align) = self.size(arguments[0], constants);
                let count = arguments[1];
                let count = number(count).or_else(|| constants.get(count).copied()).expect(count);
                (size * count as usize, align)
            }
            // What resources of descriptors are made of, and an argument of a template: all of these
            // are resources of 32 bits here.
            "fd" | "fd_event" | "KIND" => (4, 4),
            _ => panic!("a type that is not known here: {kind}"),
        }
    }

    fn layout(&self, name: &str, constants: &BTreeMap<String, u64>) -> (Layout, usize) {
        let (members, is_union) = &self.structs[name];
        let (mut layout, mut at, mut most) = (Layout::default(), 0usize, 1);
        for (member, kind) in members {
            let (size, align) = self.size(kind, constants);
            most = most.max(align);
            if *is_union {
                at = at.max(size);
            } else {
                at = at.next_multiple_of(align);
                layout.members.push((member.clone(), at));
                at += size;
            }
        }
        layout.size = at.next_multiple_of(most);
        (layout, most)
    }
}

/// All words that look like a constant.
fn constants_used() -> BTreeSet<&'static str> {
    let lines = TEXT.lines().filter(|line| !line.starts_with('#') && !line.starts_with("include"));
    let text = lines.flat_map(|line| line.split("$DMAPLANE_")).collect::<Vec<_>>();
    let words = text.into_iter().flat_map(|t| t.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.filter(|word| word.starts_with("DMAPLANE_")).collect()
}

fn const_file() -> BTreeMap<&'static str, u64> {
    let pairs = CONSTS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.split_once(" = ").expect(line);
        (name, number(value))
    });
    pairs.filter_map(|(name, value)| Some((name, value?))).collect()
}

// ---- What must hold --------------------------------------------------------

#[test]
fn the_bindings_are_read() {
    let (layouts, constants) = (header_layouts(), header_constants());
    assert_eq!(layouts["dmaplane_sqe"].size, 64);
    assert_eq!(layouts["dmaplane_endpoint_request"].members.len(), 9);
    assert_eq!(constants["DMAPLANE_FOREVER"], u64::MAX);
    assert_eq!(constants["DMAPLANE_IOC_CHANNEL_CLOSE"], 0xda42);
}

#[test]
fn every_struct_has_the_same_members_at_the_same_places() {
    let (description, constants) = (parse(), header_constants());
    let layouts = header_layouts();
    assert!(layouts.len() >= 20);
    for (name, layout) in layouts {
        assert!(description.structs.contains_key(&name), "struct {name} is not described");
        assert_eq!(description.layout(&name, &constants).0, layout, "{name}");
    }
}

#[test]
fn every_command_is_called_with_its_struct() {
    let description = parse();
    let commands = header_constants();
    let commands = commands.keys().filter(|name| name.starts_with("DMAPLANE_IOC_"));
    let mut count = 0;
    for command in commands.filter(|name| *name != "DMAPLANE_IOC_MAGIC") {
        let begin = format!("ioctl${command}(fd fd_dmaplane, cmd const[{command}], arg ptr[");
        let call = description.calls.iter().find(|call| call.starts_with(&begin));
        let call = call.unwrap_or_else(|| panic!("{command} is not described"));
        // The struct is named after the command, but for those that share one.
        let name = command.strip_prefix("DMAPLANE_IOC_").expect(command).to_lowercase();
        let name = match &*name {
            "endpoint_accept" => "endpoint_connect",
            "buf_destroy" | "region_deregister" | "endpoint_close" | "channel_close"
            | "counter_destroy" => "handle[",
            name => name,
        };
        assert!(call.contains(&format!(" dmaplane_{name}")), "{call}");
        count += 1;
    }
    assert_eq!(count, 33);
    assert!(description.calls.iter().filter(|call| call.starts_with("mmap$")).count() >= 2);
}

#[test]
fn every_constant_is_used_and_every_one_used_exists() {
    let (description, used) = (parse(), constants_used());
    let header = header_constants();
    for name in header.keys().filter(|name| *name != "DMAPLANE_IOC_MAGIC") {
        assert!(used.contains(&**name), "{name} is not used");
    }
    for name in used {
        let known = header.contains_key(name) || description.defines.contains_key(name);
        assert!(known, "{name} does not exist");
    }
}

#[test]
fn the_constants_have_the_headers_values() {
    let (header, layouts, file) = (header_constants(), header_layouts(), const_file());
    let ring = |member: &str| {
        let members = &layouts["dmaplane_ring"].members;
        members.iter().find(|(name, _)| name == member).expect(member).1 as u64
    };
    let (base, each) = (layouts["dmaplane_ring"].size as u64, layouts["dmaplane_sqe"].size as u64);
    for name in constants_used() {
        let value = match name.strip_prefix("DMAPLANE_AT_") {
            Some(at) => match at.strip_prefix("SQE") {
                Some(index) => base + number(index).expect(name) * each,
                None => ring(&at.to_lowercase()),
            },
            None => header[name],
        };
        assert_eq!(file.get(name), Some(&value), "{name}");
    }
    let extra = file.keys().filter(|name| name.starts_with("DMAPLANE_"));
    assert_eq!(extra.count(), constants_used().len());
}

#[test]
fn all_names_are_defined() {
    let description = parse();
    let members = description.structs.values().flat_map(|(members, _)| members);
    for kind in members.map(|(_, kind)| kind) {
        let (name, arguments) = applied(kind);
        if name == "flags" {
            assert!(description.flags.contains_key(arguments[0]), "{kind}");
        }
    }
    for name in description.flags.keys() {
        assert!(TEXT.matches(&format!("flags[{name}")).count() > 0, "{name} is not used");
    }
    for name in description.resources.keys().chain(description.structs.keys()) {
        assert!(TEXT.matches(&**name).count() > 1, "{name} is not used");
    }
}
