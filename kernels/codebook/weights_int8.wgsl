// Weights as codes of BITS bits, looked up in a codebook of signed bytes: W[r, k] is a word of four centroids.
//
// The table in workgroup memory is indexed by a byte of codes: the two centroids of two 4-bit codes, or the one of an
// 8-bit code. A row is QUADS vectors of codes. What is no column has code 0, and meets zero activations.
// Constants: QUADS, DEPTH, THREADS. Needs: Codes, decode.
@group(0) @binding(1) var<storage, read> codes: array<Codes>;
@group(0) @binding(5) var<storage, read> codebook: array<u32>;

var<workgroup> table: array<u32, 256>;

fn centroid(code: u32) -> u32 {
  return extractBits(codebook[code / 4u], code % 4u * 8u, 8u);
}

/// Brings the codebook into workgroup memory. Every thread must call it.
fn load_weights(lane: u32) {
  for (var i = lane; i < 256u; i += THREADS) {
    table[i] = table_entry(i);
  }
  workgroupBarrier();
}

/// W[r, k .. k + 3], k a multiple of 4; 0 from DEPTH on.
fn weight_quad(r: u32, k: u32) -> vec4<u32> {
  if (k >= DEPTH) {
    return vec4<u32>();
  }
  return decode(codes[r * QUADS + k / 4u]);
}
