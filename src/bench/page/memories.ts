/** Tells of every WebAssembly memory that is made or exported from now on. */
export function watchMemories(): ReadonlySet<WebAssembly.Memory> {
  const memories = new Set<WebAssembly.Memory>();
  WebAssembly.Memory = class extends WebAssembly.Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      memories.add(this);
    }
  };
  const { prototype } = WebAssembly.Instance;
  const { get } = Object.getOwnPropertyDescriptor(prototype, 'exports')!;
  Object.defineProperty(prototype, 'exports', {
    get() {
      const exports: WebAssembly.Exports = get!.call(this);
      for (const value of Object.values(exports)) {
        // Those that were imported are known already, under another prototype.
        if (Object.prototype.toString.call(value) === '[object WebAssembly.Memory]') {
          memories.add(value as WebAssembly.Memory);
        }
      }
      return exports;
    },
  });
  return memories;
}

export const sizeOf = (memories: ReadonlySet<WebAssembly.Memory>): number =>
  [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
