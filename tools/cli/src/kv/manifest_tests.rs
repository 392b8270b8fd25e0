// SPDX-License-Identifier: GPL-2.0
//! Tests of the manifest: what a hostile sender could write into it.

use super::*;
use proptest::prelude::*;
use serde_json::{json, Value};

fn tensor(name: &str, layer: Option<u32>, shape: &[usize]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        dtype: Dtype::F32,
        shape: shape.to_vec(),
        offset: 0,
        length: (shape.iter().product::<usize>() as u64).wrapping_mul(4),
        layer,
        crc32: 7,
    }
}

fn sample() -> Manifest {
    let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let tensors = vec![
        tensor("other", None, &[3]),
        tensor("l1.k", Some(1), &[5]),
        tensor("l0.k", Some(0), &[2, 3]),
        tensor("l0.v", Some(0), &[0, 9]),
    ];
    Manifest::new(Some(metadata), tensors)
}

fn hello(manifest: &Manifest) -> Hello {
    Hello {
        payload: manifest.payload(),
        manifest: 1000,
        chunk: 512,
        tensors: manifest.tensors.len() as u32,
        chunks: 3,
    }
}

/// The sample with something changed, decoded.
fn with(change: impl FnOnce(&mut Value)) -> Result<Manifest, Bad> {
    let mut json = serde_json::to_value(sample()).unwrap();
    change(&mut json);
    Manifest::decode(json.to_string().as_bytes(), &hello(&sample()))
}

#[test]
fn order_and_places() {
    let manifest = sample();
    let places: Vec<_> = manifest
        .tensors
        .iter()
        .map(|t| (t.name.as_str(), t.offset))
        .collect();
    let expected = [("l0.k", 0), ("l0.v", 64), ("l1.k", 64), ("other", 128)];
    assert_eq!(places, expected);
    assert_eq!(manifest.payload(), 140);
    assert_eq!(with(|_| ()).unwrap(), manifest);
}

#[test]
fn hostile_manifests() {
    let t = |i: usize, key: &'static str, value: Value| {
        with(move |json| json["tensors"][i][key] = value)
    };
    assert!(matches!(t(1, "name", json!("l0.k")), Err(Bad::Name(_))));
    assert!(matches!(t(1, "name", json!("")), Err(Bad::Name(_))));
    assert!(matches!(
        t(1, "name", json!("__metadata__")),
        Err(Bad::Name(_))
    ));
    assert!(matches!(t(0, "dtype", json!("F3")), Err(Bad::Json(_))));
    assert!(matches!(t(0, "dtype", json!("F64")), Err(Bad::Length(..))));
    assert!(matches!(
        t(0, "length", json!(u64::MAX)),
        Err(Bad::Length(..))
    ));
    assert!(matches!(t(0, "length", json!(-1)), Err(Bad::Json(_))));
    assert!(matches!(
        t(0, "shape", json!([1u64 << 62, 4])),
        Err(Bad::Length(..))
    ));
    assert!(matches!(
        t(0, "shape", json!([1u64 << 63, 2, 0.5])),
        Err(Bad::Json(_))
    ));
    // Overlap, gap, wrap.
    assert!(matches!(t(2, "offset", json!(0)), Err(Bad::Offset(..))));
    assert!(matches!(t(2, "offset", json!(192)), Err(Bad::Offset(..))));
    assert!(matches!(
        t(2, "offset", json!(u64::MAX - 63)),
        Err(Bad::Offset(..))
    ));
    assert!(matches!(t(0, "layer", json!(2)), Err(Bad::Order(_))));
    assert!(matches!(
        t(0, "layer", json!(1u64 << 32)),
        Err(Bad::Json(_))
    ));
    assert!(matches!(t(0, "surprise", json!(1)), Err(Bad::Json(_))));
    assert!(matches!(
        with(|j| j["version"] = json!(2)),
        Err(Bad::Version(2))
    ));
    assert!(matches!(
        with(|j| j["tensors"] = json!([])),
        Err(Bad::Count(0, 4))
    ));
    assert!(matches!(
        with(|j| j["metadata"] = json!({"a": 1})),
        Err(Bad::Json(_))
    ));
    let short = |j: &mut Value| {
        j["tensors"][3]["shape"] = json!([2]);
        j["tensors"][3]["length"] = json!(8);
    };
    assert!(matches!(with(short), Err(Bad::Payload(136, 140))));
}

#[test]
fn huge_tensors_do_not_overflow() {
    const EXABYTE: u64 = 1 << 60;
    let huge = |i: u64| Tensor {
        dtype: Dtype::U8,
        offset: i.wrapping_mul(EXABYTE),
        length: EXABYTE,
        ..tensor(&i.to_string(), None, &[EXABYTE as usize])
    };
    let manifest = Manifest {
        version: 1,
        metadata: None,
        tensors: (0..17).map(huge).collect(),
    };
    assert!(matches!(manifest.check(), Err(Bad::Length(name, _)) if name == "15"));
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = "[".repeat(100_000);
    assert!(Manifest::decode(deep.as_bytes(), &hello(&sample())).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::decode(&bytes, &hello(&sample())).is_err());
    }

    #[test]
    fn any_change_of_a_byte_is_taken_or_refused(at in 0usize..2000, byte: u8) {
        let mut json = sample().encode().unwrap();
        let at = at % json.len();
        json[at] = byte;
        if let Ok(manifest) = Manifest::decode(&json, &hello(&sample())) {
            prop_assert_eq!(manifest.payload(), 140);
        }
    }
}
