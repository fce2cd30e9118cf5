// What a window reads outside the image: the code of 0, in each byte that holds a channel.
// Constants: TAIL_MASK = the bytes of a pixel's last word that hold channels; CHANNELS in words.
// samples[s] = (bits of scale, zero point - 128), from quantize.wgsl.
@group(0) @binding(2) var<storage, read> samples: array<vec2<u32>>;

fn padding(image: u32, c: u32) -> u32 {
  let word = (samples[image].y & 0xffu) * 0x01010101u;
  return select(word, word & TAIL_MASK, c == CHANNELS - 1u);
}
