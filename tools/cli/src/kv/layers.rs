// SPDX-License-Identifier: GPL-2.0
//! Which layer a tensor belongs to, by its name.

/// Words that the number of a layer follows.
const WORDS: [&str; 5] = ["layers", "layer", "blocks", "block", "h"];

/// The layer that `name` gives: the number after a word such as `layers`, else
/// the first part that is a number, else none.
pub fn layer_of(name: &str) -> Option<u32> {
    let parts: Vec<&str> = name.split(['.', '/']).collect();
    let after_word = parts
        .windows(2)
        .filter(|pair| WORDS.contains(&pair[0]))
        .find_map(|pair| number(pair[1]));
    after_word.or_else(|| parts.iter().find_map(|part| number(part)))
}

fn number(part: &str) -> Option<u32> {
    let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| part.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::layer_of;

    #[test]
    fn names() {
        for (name, layer) in [
            ("model.layers.0.k", Some(0)),
            ("model.layers.31.self_attn.v", Some(31)),
            ("layer.7.key", Some(7)),
            ("transformer.h.12.attn", Some(12)),
            ("cache.3.v", Some(3)),
            ("kv/5/k", Some(5)),
            ("2.layers.9.k", Some(9)),
            ("model.layers.k", None),
            ("embedding", None),
            ("layers.99999999999.k", None),
            ("a.-1.b", None),
            ("", None),
            ("...", None),
        ] {
            assert_eq!(layer_of(name), layer, "{name}");
        }
    }
}
