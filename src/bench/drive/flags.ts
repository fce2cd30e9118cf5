/** Switches of every Chrome that we start: WebGPU on, nothing sent anywhere. */
export const chromeFlags = (): string[] => [
  '--enable-unsafe-webgpu',
  // Chrome's sandbox refuses to run as root, which containers are.
  ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-quic',
];

/** Nothing is slowed down, and each page has a process that began with it. */
export const MEASURING_FLAGS = [
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-features=SpareRendererForSitePerProcess',
];
