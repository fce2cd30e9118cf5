// Activations packed into u32 words by an earlier stage, read four at a time: every row and pixel starts at a
// multiple of 4 words. Products are summed in i32.
@group(0) @binding(0) var<storage, read> words: array<vec4<u32>>;

alias Element = u32;
alias Sum = i32;

fn activation(i: u32) -> u32 {
  return words[i / 4u][i % 4u];
}

fn activation_quad(i: u32) -> vec4<u32> {
  return words[i / 4u];
}
