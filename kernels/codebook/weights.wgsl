// Weights as codes of BITS bits, looked up in a codebook: W[r, k] = codebook[code of (r, k)].
// A row is ROW_WORDS = ceil(DEPTH / (32 / BITS)) words; the first code sits in the low bits. Codes beyond DEPTH are 0:
// what they decode to meets zero activations.
// Constants: BITS (4 or 8), ROW_WORDS, DEPTH, THREADS.
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> codebook: array<f32>;

const ENTRIES = 1u << BITS;
const CODES_PER_WORD = 32u / BITS;

var<workgroup> centroids: array<f32, ENTRIES>;

/// Brings the codebook into workgroup memory. Every thread must call it.
fn load_weights(lane: u32) {
  for (var i = lane; i < ENTRIES; i += THREADS) {
    centroids[i] = codebook[i];
  }
  workgroupBarrier();
}

/// W[r, k .. k + 3], k a multiple of 4; 0 from DEPTH on, except inside the last quad.
fn weight_quad(r: u32, k: u32) -> vec4<f32> {
  if (k >= DEPTH) {
    return vec4<f32>();
  }
  let word = codes[r * ROW_WORDS + k / CODES_PER_WORD];
  let first = k % CODES_PER_WORD * BITS;
  return vec4<f32>(
    centroids[extractBits(word, first, BITS)],
    centroids[extractBits(word, first + BITS, BITS)],
    centroids[extractBits(word, first + 2u * BITS, BITS)],
    centroids[extractBits(word, first + 3u * BITS, BITS)],
  );
}
