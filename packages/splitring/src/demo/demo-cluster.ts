// The demo cluster: one driver domain with a disk and a bridge, guests that each own a slice of the disk.
import { statSync } from 'node:fs';
import { SplitringError } from 'sharedarraybuffer-ring';
import type { RunningGuest } from '../host/domain.ts';
import { createHost, type Host } from '../host/host.ts';
import type { HostPlatform } from '../host/platform.ts';
import { formatSize } from '../size.ts';
import { LOAD_COUNTERS, LOAD_GUEST_URL, type LoadArguments } from './load-arguments.ts';
import { BLOCK_BYTES } from './pattern.ts';
import type { GuestRow, Summary } from './report.ts';

/** How a demo cluster is made. */
export interface DemoOptions {
  /** How long the guests work. */
  readonly seconds: number;
  /** Number of guests, at least 1. */
  readonly guests: number;
  /** Path of the image; undefined for a disk in memory. */
  readonly image: string | undefined;
  /** Size of the disk if it has to be made. */
  readonly sizeBytes: number;
  /** File that receives every frame, for tcpdump and tshark. */
  readonly capture?: string | undefined;
  /** First guest's pattern seed; the others follow. */
  readonly seed: number;
}

/** Smallest slice that a guest can work on. */
const SMALLEST_SLICE_BYTES = 64 * 1024;

/** The demo's Ethernet addresses. */
export const demoMac = (index: number): string => `00:16:3e:00:00:${(index + 1).toString(16).padStart(2, '0')}`;

/** The slice of guest `index`: equal parts in whole blocks. */
export function sliceOf(index: number, guests: number, diskBytes: number): { offset: number; size: number } {
  const size = Math.floor(diskBytes / guests / BLOCK_BYTES) * BLOCK_BYTES;
  return { offset: index * size, size };
}

/** A demo cluster at work. */
export class DemoCluster {
  readonly guests: readonly RunningGuest[];
  private readonly host: Host;
  private readonly states = new Map<RunningGuest, string>();

  private constructor(host: Host, guests: readonly RunningGuest[]) {
    this.host = host;
    this.guests = guests;
    for (const guest of guests) {
      this.states.set(guest, 'running');
      void guest.exited.then(({ ok, message }) => this.states.set(guest, ok ? 'done' : `failed: ${message}`));
    }
  }

  /**
   * Start it.
   * @throws SplitringError DISK_TOO_SMALL, and what `createHost` throws. Nothing is left behind then
   */
  static async start(options: DemoOptions, platform?: HostPlatform): Promise<DemoCluster> {
    refuseSmallDisk(options);
    const disk = { ...(options.image === undefined ? {} : { image: options.image }), size: options.sizeBytes };
    const captures = options.capture === undefined ? {} : { lan0: options.capture };
    const host = await createHost(
      { driverDomains: [{ name: 'io', disks: { vol0: disk }, bridges: ['lan0'], captures }] },
      platform,
    );
    try {
      const diskBytes = host.diskBytes('vol0');
      const guests: RunningGuest[] = [];
      for (let index = 0; index < options.guests; index += 1) {
        guests.push(await startGuest(host, index, diskBytes, options));
      }
      return new DemoCluster(host, guests);
    } catch (error) {
      await host.close(0);
      throw error;
    }
  }

  /** Receive console lines. */
  onConsole(listener: (domain: string, line: string) => void): void {
    this.host.onConsole = listener;
  }

  /** Resolves when every guest has ended, or a driver domain has. */
  ended(): Promise<unknown> {
    const all = Promise.all(this.guests.map((guest) => guest.exited));
    return Promise.race([all, ...this.host.driverDomains.map((driver) => driver.exited)]);
  }

  /** What each guest is doing. */
  rows(): GuestRow[] {
    return this.guests.map((guest) => {
      const { counters, name } = guest;
      return {
        name,
        state: this.states.get(guest) ?? '',
        operations: counters.read('operations'),
        bytes: counters.read('bytes'),
        frames: counters.read('frames'),
        errors: counters.read('errors'),
      };
    });
  }

  /** The outcome so far. */
  summary(seconds: number): Summary {
    const rows = this.rows();
    const sum = (pick: (row: GuestRow) => number) => rows.reduce((total, row) => total + pick(row), 0);
    const unfinished = rows.filter(({ state }) => state !== 'done').length;
    const errors = sum((row) => row.errors) + unfinished;
    const operations = sum((row) => row.operations);
    const frames = sum((row) => row.frames);
    const hasWorked = rows.every((row) => row.operations > 0) && (rows.length < 2 || frames > 0);
    return {
      ok: errors === 0 && hasWorked,
      seconds: Math.round(seconds * 1000) / 1000,
      guests: rows.length,
      operations,
      bytes: sum((row) => row.bytes),
      frames,
      errors,
    };
  }

  /** End it. */
  close(deadlineMs?: number): Promise<void> {
    return this.host.close(deadlineMs);
  }
}

/** Refuse before anything is made. An existing image keeps its size. */
function refuseSmallDisk({ image, guests, sizeBytes }: DemoOptions): void {
  const existing = image === undefined ? undefined : statSync(image, { throwIfNoEntry: false });
  const diskBytes = existing?.isFile() === true ? existing.size : sizeBytes;
  if (sliceOf(0, guests, diskBytes).size >= SMALLEST_SLICE_BYTES) return;
  throw new SplitringError(
    'DISK_TOO_SMALL',
    `Cannot give ${guests} guests a slice each: ${existing === undefined ? 'the disk' : image} has ${formatSize(diskBytes)}, ` +
      `they need ${formatSize(guests * SMALLEST_SLICE_BYTES)}; use a larger image or fewer guests`,
  );
}

function startGuest(host: Host, index: number, diskBytes: number, options: DemoOptions): Promise<RunningGuest> {
  const talks = options.guests >= 2 && index < 2;
  const args: LoadArguments = {
    seed: (options.seed + index) >>> 0,
    seconds: options.seconds,
    ...(talks ? { talk: [demoMac(index), demoMac(1 - index)] } : {}),
  };
  return host.createDomain({
    name: `guest${index}`,
    program: LOAD_GUEST_URL,
    args,
    counters: [...LOAD_COUNTERS],
    disks: [{ name: 'xvda', from: 'vol0', slice: sliceOf(index, options.guests, diskBytes) }],
    nics: talks ? [{ bridge: 'lan0', mac: demoMac(index) }] : [],
  });
}
