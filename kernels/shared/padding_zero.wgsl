// What a window of floats reads outside the image.
fn padding(image: u32, c: u32) -> Element {
  return Element();
}
