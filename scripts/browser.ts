// Finds a Chrome or Chromium to test in, or gets one; and SwiftShader, the software Vulkan that comes with it.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { root } from './paths.js';

const NAMES = [
  'google-chrome-stable',
  'google-chrome',
  'chromium',
  'chromium-browser',
  'chrome',
  'google-chrome-beta',
  'google-chrome-unstable',
  'msedge',
  'microsoft-edge',
];

const PLACES: Partial<Record<NodeJS.Platform, string[]>> = {
  linux: ['/opt/google/chrome/chrome', '/usr/lib/chromium/chromium', '/snap/bin/chromium'],
  darwin: [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    '/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge',
  ],
  win32: [process.env.PROGRAMFILES, process.env['PROGRAMFILES(X86)'], process.env.LOCALAPPDATA].flatMap((base) =>
    base ? [join(base, 'Google/Chrome/Application/chrome.exe')] : [],
  ),
};

const say = (line: string) => console.log(`browser: ${line}`);

/** The version text of a browser that starts; a download whose shared libraries are missing does not. */
function versionOf(path: string): string | undefined {
  // On Windows chrome.exe --version opens a window and prints nothing.
  if (process.platform === 'win32') return existsSync(path) ? 'version unknown' : undefined;
  const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: 30_000 });
  return status === 0 ? stdout.trim() : undefined;
}

function fromPath(): string[] {
  const exe = process.platform === 'win32' ? '.exe' : '';
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  return NAMES.flatMap((name) => folders.map((folder) => join(folder, name + exe)));
}

function installed(): string | undefined {
  const wanted = process.env.CHROME_PATH;
  if (wanted) {
    const version = versionOf(wanted);
    if (version === undefined) throw new Error(`browser: CHROME_PATH = ${wanted} does not start with --version`);
    say(`${version} at ${wanted} (CHROME_PATH)`);
    return wanted;
  }
  for (const path of [...fromPath(), ...(PLACES[process.platform] ?? [])]) {
    if (!existsSync(path)) continue;
    const version = versionOf(path);
    if (version === undefined) continue;
    say(`${version} at ${path}`);
    return path;
  }
  return undefined;
}

/** Puppeteer's own download, into its cache. */
function download(): string | undefined {
  say("none installed; trying puppeteer's download");
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(root, 'node_modules/puppeteer/lib/esm/puppeteer/node/cli.js'), 'browsers', 'install', 'chrome'],
    { cwd: root, encoding: 'utf8', timeout: 300_000 },
  );
  const path = stdout?.match(/^chrome@\S+ (.+)$/m)?.[1];
  if (status !== 0 || !path) {
    const [reason = 'it timed out'] = (stderr ?? '').match(/^.*error.*$/im) ?? [];
    say(`the download failed: ${reason.trim()}`);
    return undefined;
  }
  const version = versionOf(path);
  say(version ? `${version} at ${path} (downloaded)` : `${path} does not start: shared libraries are missing`);
  return version && path;
}

/** Runs apt-get as root on Debian and its like. */
function apt(packages: string[]): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false;
  say(`apt-get install ${packages.join(' ')}`);
  const options = { stdio: ['ignore', 'ignore', 'inherit'] as ['ignore', 'ignore', 'inherit'] };
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    execFileSync('apt-get', ['update', '-q'], { ...options, env });
    execFileSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], { ...options, env });
    return true;
  } catch (error) {
    say(`apt-get failed: ${(error as Error).message.split('\n')[0]}`);
    return false;
  }
}

/** Path of a browser that starts: CHROME_PATH, the PATH, the usual places, a download, Debian's package. */
export function findBrowser(): string | undefined {
  return installed() ?? download() ?? (apt(['chromium', 'libvulkan1']) ? installed() : undefined);
}

/**
 * The environment in which Dawn (npm `webgpu`) finds a Vulkan driver in Node: SwiftShader from the browser's
 * folder, unless the caller's environment names a driver. Empty on systems without Vulkan.
 */
export function vulkanEnvironment(browser: string | undefined): Record<string, string> {
  if (process.platform !== 'linux' || process.env.VK_ICD_FILENAMES || process.env.VK_DRIVER_FILES) return {};
  const folders = [
    ...(browser ? [dirname(realpathSync(browser))] : []),
    '/usr/lib/chromium',
    '/usr/lib/chromium-browser',
    '/opt/google/chrome',
  ];
  const folder = folders.find((candidate) => existsSync(join(candidate, 'vk_swiftshader_icd.json')));
  if (!folder) return {};
  const environment: Record<string, string> = { VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json') };
  if (!vulkanLoaderInstalled() && existsSync(join(folder, 'libvulkan.so.1'))) {
    environment.LD_LIBRARY_PATH = [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':');
  }
  return environment;
}

function vulkanLoaderInstalled(): boolean {
  const { stdout } = spawnSync('/sbin/ldconfig', ['-p'], { encoding: 'utf8' });
  return stdout?.includes('libvulkan.so.1 ') ?? false;
}
