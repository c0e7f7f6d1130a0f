// Brings a driver domain up: its bridges, its back ends on top of the disks, its shutdown.
import type { BlockDevice } from '@splitring/device';
import { type DomainKernel, type SharedCounters, type Stepped, XenbusBackend } from '@splitring/hypervisor';
import { createBlockBackend } from './block/blkback.ts';
import { Bridge } from './net/bridge.ts';
import { BridgeStatistics } from './net/bridge-statistics.ts';
import { createNetBackend } from './net/netback.ts';

/** Longest wait for front ends when the domain is told to end. */
const CLOSE_TIMEOUT_MS = 1000;

/** What a driver domain runs with. */
export interface DriverDomainOptions {
  /** The domain's kernel. */
  readonly kernel: DomainKernel;
  /** Disks by the name that back ends are configured with. */
  readonly disks: ReadonlyMap<string, BlockDevice>;
  /** Where to count what disks and bridges do: see `diskCounterNames`, `bridgeCounterNames`. */
  readonly counters?: SharedCounters;
  /** Names of the bridges to make. */
  readonly bridges: readonly string[];
}

/** A running driver domain. */
export interface DriverDomain {
  /** Its bridges by name, for uplinks and captures. */
  readonly bridges: ReadonlyMap<string, Bridge>;
  /** Tell the toolstack that everything is there (`data/ready` in the domain's xenstore home). */
  ready(): void;
  /** Whether the toolstack asked it to end and its back ends have let go. */
  isOver(): boolean;
}

const find = (disks: ReadonlyMap<string, BlockDevice>, name: string) => {
  const device = disks.get(name);
  return device && { device };
};

/** Start serving; the caller says when it is `ready`. */
export function startDriverDomain(options: DriverDomainOptions): DriverDomain {
  const { kernel, disks } = options;
  const bridges = new Map(options.bridges.map((name) => [name, new Bridge(name, kernel.clock)]));
  let isClosed = false;
  for (const bridge of bridges.values()) {
    kernel.add(bridge, 'control');
    if (options.counters !== undefined) kernel.add(new BridgeStatistics(bridge, options.counters), 'control');
  }
  const backends = new XenbusBackend(kernel, [
    createBlockBackend({
      disk: (params) => find(disks, params),
      ...(options.counters === undefined ? {} : { counters: options.counters }),
    }),
    createNetBackend({ bridge: (name) => bridges.get(name) }),
  ]);
  const { store } = kernel;
  store.watch('control/shutdown', () => {
    store.read('control/shutdown', (reply) => {
      if (!reply.ok || reply.value === '') return;
      store.write('control/shutdown', '');
      const over = () => {
        isClosed = true;
        backends.close();
        kernel.remove(deadline);
      };
      const endMs = kernel.clock.nowMs() + CLOSE_TIMEOUT_MS;
      const deadline: Stepped = {
        poll: () => {
          if (isClosed || kernel.clock.nowMs() < endMs) return false;
          over();
          return true;
        },
        deadlineMs: () => endMs,
      };
      kernel.add(deadline, 'control');
      backends.closeDevices(over);
    });
  });
  const ready = () => store.write('data/ready', '1');
  return { bridges, ready, isOver: () => isClosed };
}
