// What a window reads outside the image: the code of 0, in each byte that holds a channel.
// Constants: TAIL_MASK = the bytes of a pixel's last word that hold channels; CHANNELS in words. Needs: sample_of.
fn padding(image: u32, c: u32) -> u32 {
  let word = (sample_of(image).y & 0xffu) * 0x01010101u;
  return select(word, word & TAIL_MASK, c == CHANNELS - 1u);
}
