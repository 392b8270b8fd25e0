// SPDX-License-Identifier: GPL-2.0
//! A whole transfer without a device: file, chunks, account, views, file.

use super::*;
use crate::kv::assemble::{Assembler, Event, Violation};
use crate::kv::check;
use crate::kv::layout::{manifest_piece, manifest_pieces, Areas};
use crate::kv::wire::{Imm, Trailer};
use safetensors::tensor::{serialize_to_file, Dtype, TensorView};
use std::path::PathBuf;

const CHUNK: u32 = 512;

/// Immediate and length of each.
type Messages = Vec<(u32, u32)>;

fn write_file(dir: &Path, bad: bool) -> PathBuf {
    let path = dir.join("in.safetensors");
    let data: Vec<u8> = (0..9000u32).map(|i| (i * 7 % 251) as u8).collect();
    let view = |dtype, shape: &[usize], at: usize, len: usize| {
        TensorView::new(dtype, shape.to_vec(), &data[at..at + len]).unwrap()
    };
    let tensors = [
        ("model.layers.1.k", view(Dtype::F32, &[10, 25], 0, 1000)),
        ("model.layers.0.k", view(Dtype::F32, &[10, 25], 1000, 1000)),
        ("model.layers.0.v", view(Dtype::BF16, &[3, 7], 2000, 42)),
        ("model.layers.10.k", view(Dtype::U8, &[5000], 3000, 5000)),
        ("last", view(Dtype::I64, &[1], 8000, 8)),
        ("nothing", view(Dtype::F32, &[0, 4], 0, 0)),
    ];
    let metadata = HashMap::from([("next".to_owned(), "17".to_owned())]);
    serialize_to_file(tensors, Some(metadata), &path).unwrap();
    if bad {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    }
    path
}

/// The receiver's memory when everything has been written to it.
fn memory(source: &Source) -> Vec<u8> {
    let areas = Areas::new(&source.hello);
    let mut memory = vec![0; areas.total as usize];
    memory[..source.json.len()].copy_from_slice(&source.json);
    for (offset, bytes) in source.tensors() {
        let at = (areas.payload + offset) as usize;
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let trailer = Trailer {
        chunks: source.hello.chunks,
        payload: source.hello.payload,
        p50: 5,
        ..Trailer::default()
    };
    memory[areas.trailer as usize..].copy_from_slice(&trailer.encode());
    memory
}

/// All messages of a good transfer.
fn messages(source: &Source) -> Messages {
    let hello = &source.hello;
    let pieces = (0..manifest_pieces(hello)).map(|i| {
        (
            Imm::Manifest(i).pack(),
            manifest_piece(hello, i).unwrap().length,
        )
    });
    let chunks =
        (0..hello.chunks).map(|i| (Imm::Chunk(i).pack(), source.layout.chunk(i).unwrap().length));
    let end = (Imm::End(hello.chunks).pack(), Trailer::LEN as u32);
    pieces.chain(chunks).chain([end]).collect()
}

fn play(source: &Source, messages: &[(u32, u32)]) -> Result<(Assembler, Event), Violation> {
    let memory = memory(source);
    let mut assembler = Assembler::new(source.hello, 0);
    let mut last = Event::Piece;
    for &(imm, length) in messages {
        last = assembler.message(imm, length, |offset, out| {
            let at = offset as usize;
            out.copy_from_slice(&memory[at..at + out.len()]);
        })?;
    }
    Ok((assembler, last))
}

#[test]
fn a_file_arrives_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_file(dir.path(), false);
    let source = Source::open(&path, CHUNK).unwrap();
    let numbers: Vec<_> = source.layout.layers.iter().map(|l| l.number).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(10), None]);

    let (assembler, last) = play(&source, &messages(&source)).unwrap();
    assert!(matches!(last, Event::End(Trailer { p50: 5, .. })));
    let (manifest, layout) = assembler.into_parts().unwrap();
    assert_eq!((&manifest, &layout), (&source.manifest, &source.layout));

    let memory = memory(&source);
    let areas = Areas::new(&source.hello);
    let payload = &memory[areas.payload as usize..][..source.hello.payload as usize];
    let sent: Vec<u32> = manifest.tensors.iter().map(|t| t.crc32).collect();
    assert_eq!(check::crcs(&manifest, payload), sent);

    let out = dir.path().join("out.safetensors");
    check::write(&manifest, payload, &out).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&path).unwrap());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);

    let mut broken = payload.to_vec();
    broken[500] ^= 1;
    let crcs = check::crcs(&manifest, &broken);
    let differing = crcs.iter().zip(&sent).filter(|(a, b)| a != b).count();
    assert_eq!(differing, 1);
}

#[test]
fn what_a_sender_can_do_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&write_file(dir.path(), false), CHUNK).unwrap();
    let good = messages(&source);
    let pieces = manifest_pieces(&source.hello) as usize;
    assert!(pieces > 1 && source.hello.chunks > 10);
    let changed = |change: &dyn Fn(&mut Messages)| {
        let mut messages = good.clone();
        change(&mut messages);
        match play(&source, &messages) {
            Ok(_) => "taken".to_owned(),
            Err(violation) => violation.to_string(),
        }
    };
    let first = pieces; // message of chunk 0
    assert_eq!(changed(&|_| ()), "taken");
    assert_eq!(changed(&|m| m[first..first + 5].reverse()), "taken");
    assert_eq!(
        changed(&|m| m.insert(first, m[first])),
        "chunk 0 arrived twice"
    );
    assert_eq!(
        changed(&|m| m.insert(0, m[0])),
        "manifest piece 0 arrived twice"
    );
    let gone = |m: &mut Messages| drop(m.drain(first + 2..first + 5));
    assert_eq!(
        changed(&gone),
        format!("3 of {} chunks did not arrive: 2-4", source.hello.chunks)
    );
    assert!(changed(&|m| m[first].0 = Imm::Chunk(1 << 24).pack()).contains("out of range"));
    assert!(changed(&|m| m[first].1 += 1).contains("with 513 bytes instead of 512"));
    assert!(changed(&|m| m[0].1 = 0).contains("manifest piece 0"));
    assert!(changed(&|m| m.swap(0, first)).contains("before the manifest"));
    assert!(changed(&|m| m.swap(0, good.len() - 1)).contains("before the manifest"));
    assert!(changed(&|m| m[0].0 = 0).contains("no known kind"));
    assert!(changed(&|m| m[0].0 = Imm::Verdict(0).pack()).contains("verdict"));
    assert!(changed(&|m| m[good.len() - 1].0 = Imm::End(3).pack()).contains("other figures"));
}

#[test]
fn many_gaps_are_abridged() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&write_file(dir.path(), false), CHUNK).unwrap();
    let some: Vec<_> = messages(&source)
        .into_iter()
        .filter(|&(imm, _)| !matches!(Imm::unpack(imm), Ok(Imm::Chunk(i)) if i % 2 == 1))
        .collect();
    let text = play(&source, &some).unwrap_err().to_string();
    assert!(text.ends_with(": 1, 3, 5, 7, 9, 11, …"), "{text}");
}

#[test]
fn keys_shorter_than_a_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&write_file(dir.path(), false), CHUNK).unwrap();
    let mut assembler = Assembler::new(source.hello, 384);
    let json = &source.json;
    let read = |_: u64, out: &mut [u8]| out.copy_from_slice(&json[..out.len()]);
    // Bytes 0 to 511 end 128 bytes into the second key.
    assert!(assembler
        .message(Imm::Manifest(0).pack(), 128, read)
        .is_ok());
    assert!(assembler
        .message(Imm::Manifest(1).pack(), 512, read)
        .is_err());
}

#[test]
fn unusable_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_file(dir.path(), true);
    let text = |path: &Path| match Source::open(path, CHUNK) {
        Ok(_) => "taken".to_owned(),
        Err(failure) => failure.to_string(),
    };
    assert!(text(&path).contains("not a safetensors file"));
    assert!(text(dir.path()).contains("not a regular file"));
    assert!(text(&dir.path().join("none")).contains("No such file"));
    std::fs::write(&path, b"").unwrap();
    assert!(text(&path).contains("safetensors"), "{}", text(&path));
    let none: [(&str, TensorView<'_>); 0] = [];
    serialize_to_file(none, None, &path).unwrap();
    assert!(text(&path).contains("has 0 tensors"));
}
