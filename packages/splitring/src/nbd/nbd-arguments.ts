// What the NBD guest is told, and the counters that it writes.

/** Arguments of the NBD guest: a Unix socket, or a port of the loopback address. */
export interface NbdArguments {
  /** Name of the export; the empty name works as well. */
  readonly exportName: string;
  /** Path of a Unix socket. */
  readonly socket?: string;
  /** TCP port on 127.0.0.1, 0 for any. */
  readonly port?: number;
  /** The disk was just created: all of it is zero. */
  readonly isNew?: boolean;
}

/** Counters of the NBD guest; `port` is not 0 once it listens. */
export const NBD_COUNTERS = ['port', 'connections', 'bytes'] as const;

/** The NBD guest's program, compiled or not. */
export const NBD_GUEST_URL = new URL(
  import.meta.url.endsWith('.ts') ? './nbd.guest.ts' : './nbd.guest.js',
  import.meta.url,
).href;
