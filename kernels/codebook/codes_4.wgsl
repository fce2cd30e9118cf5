// Codes of 4 bits: 16 of them in two u32, in the order of the columns.
alias Codes = vec2<u32>;

fn table_entry(pair: u32) -> u32 {
  return centroid(pair % 16u) | (centroid(pair / 16u) << 8u);
}

fn word_of(pairs: u32) -> u32 {
  return table[pairs & 0xffu] | (table[(pairs >> 8u) & 0xffu] << 16u);
}

fn decode(quad: Codes) -> vec4<u32> {
  return vec4<u32>(word_of(quad.x), word_of(quad.x >> 16u), word_of(quad.y), word_of(quad.y >> 16u));
}
