// The demo's guest program: a disk load on its own slice, and for two of the guests an exchange of Ethernet frames.
import { defineGuest } from '@splitring/frontend';
import { runDiskLoad } from './disk-load.ts';
import { runFrameLoad } from './frame-load.ts';
import type { LoadArguments } from './load-arguments.ts';

export default defineGuest<LoadArguments, void>(async (guest) => {
  const { seed, seconds, talk } = guest.args;
  const endMs = guest.clock.nowMs() + seconds * 1000;
  const isOver = () => guest.signal.aborted || guest.clock.nowMs() >= endMs;
  const loads = [runDiskLoad({ guest, disk: guest.disk('xvda'), seed, isOver })];
  if (talk !== undefined) {
    loads.push(runFrameLoad({ guest, nic: guest.nic(0), ownMac: talk[0], peerMac: talk[1], isOver }));
  }
  await Promise.all(loads);
});
