// What quantize.wgsl found out about each sample: (bits of scale, zero point - 128).
@group(0) @binding(2) var<storage, read> samples: array<vec2<u32>>;

fn sample_of(s: u32) -> vec2<u32> {
  return samples[s];
}
