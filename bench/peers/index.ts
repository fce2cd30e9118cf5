import type { PeerName } from '../types.js';
import { litert } from './litert.js';
import { ort } from './ort.js';
import type { Peer } from './peer.js';
import { tfjs } from './tfjs.js';

/** Every peer: `folder` is the URL under which its packages are served. */
export const peers: Record<PeerName, (folder: string, threads: number) => Promise<Peer>> = { tfjs, ort, litert };
