// A driver domain with an open uplink: a socket that nobody uses, and the event loop that it needs, beside full rings.
import process from 'node:process';
import { threadId } from 'node:worker_threads';
import type { Bridge } from '@splitring/backend';
import { listenForStreams } from '@splitring/backend/qemu-stream';
import { type DomainKernel, type IdleOptions, runDomain } from '@splitring/hypervisor';

/** Serve for ever. */
export async function serveWithUplink(
  kernel: DomainKernel,
  bridge: Bridge,
  idle: Pick<IdleOptions, 'spinPolls' | 'sliceMs'>,
): Promise<void> {
  // An abstract socket of Linux: nothing is left in the file system when this thread is ended.
  const path = `\0splitring-bench-${process.pid}-${threadId}`;
  await listenForStreams(bridge, kernel, { path });
  await runDomain(kernel, () => false, {
    ...idle,
    turn: () => new Promise((resolve) => setImmediate(resolve)),
    schedule: (callback, ms) => {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  });
}
