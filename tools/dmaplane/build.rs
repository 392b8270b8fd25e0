// SPDX-License-Identifier: GPL-2.0
//! Makes `uapi_generated.rs` from the one ABI, `include/uapi/dmaplane.h`.
//!
//! bindgen cannot evaluate macros that call macros or that contain casts, which
//! is what command numbers are. Those are found in the header's text and bound
//! to constants that the compiler evaluates, so that no number is repeated here.

use std::{env, fs, path::PathBuf, process::exit};

const HEADER: &str = "../../include/uapi/dmaplane.h";
const PREFIX: &str = "BOUND_";

#[derive(Debug)]
struct Unprefix;

impl bindgen::callbacks::ParseCallbacks for Unprefix {
    fn item_name(&self, item: bindgen::callbacks::ItemInfo<'_>) -> Option<String> {
        item.name.strip_prefix(PREFIX).map(str::to_owned)
    }
}

fn fail(what: &str, why: impl std::fmt::Display) -> ! {
    eprintln!("dmaplane: {what}: {why}");
    exit(1);
}

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let header = root.join(HEADER);
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header)
        .unwrap_or_else(|e| fail("cannot read include/uapi/dmaplane.h", e));

    let mut wrapper = format!("#include \"{}\"\n", header.display());
    for name in text
        .lines()
        .filter_map(|l| l.strip_prefix("#define ")?.split_whitespace().next())
        .filter(|n| n.starts_with("DMAPLANE_IOC_") && *n != "DMAPLANE_IOC_MAGIC")
    {
        wrapper += &format!("static const __u32 {PREFIX}{name} = {name};\n");
    }
    // Signed, since bindgen has no literal for the upper half of 64 bits.
    wrapper += &format!("static const __s64 {PREFIX}DMAPLANE_FOREVER = DMAPLANE_FOREVER;\n");

    let bindings = bindgen::Builder::default()
        .header_contents("dmaplane_wrapper.h", &wrapper)
        .allowlist_type("dmaplane_.*")
        .allowlist_var("DMAPLANE_.*|BOUND_DMAPLANE_.*")
        .blocklist_item("DMAPLANE_FOREVER|DMAPLANE_LAYOUT")
        .parse_callbacks(Box::new(Unprefix))
        .derive_default(true)
        .derive_debug(true)
        .layout_tests(true)
        .generate_comments(false)
        .use_core()
        .generate()
        .unwrap_or_else(|e| fail("bindgen could not read the header (is libclang there?)", e));

    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // Where the module's `rust/uapi.rs` looks for it, which a test compiles.
    println!("cargo::rustc-env=DMAKIT_GENERATED={}", out.display());
    bindings
        .write_to_file(out.join("uapi_generated.rs"))
        .unwrap_or_else(|e| fail("cannot write the bindings", e));
}
