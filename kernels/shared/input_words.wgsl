// Activations packed into u32 words by an earlier stage. Products are summed in i32.
@group(0) @binding(0) var<storage, read> words: array<u32>;

alias Element = u32;
alias Sum = i32;

fn activation(i: u32) -> u32 {
  return words[i];
}

fn activation_quad(i: u32) -> vec4<u32> {
  return vec4<u32>(words[i], words[i + 1u], words[i + 2u], words[i + 3u]);
}
